// A real server for tests: Valkey, or Redis 7, which Debian has. It can be stopped, paused and started again.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { ValkeySettings } from '../url.ts'
import { parseValkeyUrl } from '../url.ts'

const START_MS = 10_000

/** How to start it. */
export interface ValkeyServerOptions {
  /** Default: a Unix socket. A port is one of 127.0.0.1. */
  readonly port?: number
  readonly socketName?: string
  readonly argv?: readonly string[]
  /** Makes it a Sentinel with this configuration. */
  readonly sentinelFile?: string
  /** A command that runs what follows it, such as `ip netns exec`. */
  readonly within?: readonly string[]
}

/** A server in a directory of its own, which is the caller's, as `stop` is. */
export class ValkeyServer {
  readonly url: string
  readonly #argv: readonly string[]
  readonly #within: readonly string[]
  readonly #address: { readonly path: string } | { readonly port: number; readonly host: string }
  #child: ChildProcess | null = null

  constructor(directory: string, options: ValkeyServerOptions = {}) {
    const { port, socketName = 'valkey.sock', argv = [], sentinelFile, within = [] } = options
    this.#within = within
    const path = join(directory, socketName)
    this.url = port === undefined ? `unix:${path}` : `redis://127.0.0.1:${port}`
    this.#address = port === undefined ? { path } : { port, host: '127.0.0.1' }
    const where =
      port === undefined ? ['--port', '0', '--unixsocket', path] : ['--port', String(port), '--bind', '127.0.0.1']
    const keep = ['--dir', directory, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always']
    this.#argv =
      sentinelFile === undefined ? [...where, ...keep, '--loglevel', 'warning', ...argv] : [sentinelFile, '--sentinel']
  }

  /** As a configuration has it. */
  get config(): ValkeySettings {
    const url = parseValkeyUrl(this.url)
    if (url === undefined) throw new Error(`${this.url} is no URL`)
    return { url, caFile: null, passwordFile: null }
  }

  /** Starts it, with what it had before; resolves when it answers. */
  async start(): Promise<void> {
    const [command = '', ...argv] = [...this.#within, 'redis-server', ...this.#argv]
    const child = spawn(command, argv, { stdio: ['ignore', 'ignore', 'inherit'] })
    this.#child = child
    const lastMs = performance.now() + START_MS
    while (!(await this.#answers())) {
      if (child.exitCode !== null || performance.now() > lastMs) throw new Error('redis-server did not start')
      await pause(10)
    }
  }

  #answers(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const socket = connect({ ...this.#address })
    socket.once('data', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
    // Any answer will do: a server with a password, or with TLS, refuses to say PONG.
    socket.once('close', () => resolve(true))
    socket.write('PING\r\n')
    return promise
  }

  /** Ends it; what it had is kept. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGCONT')
    child.kill(signal)
    await once(child, 'exit')
  }

  /** It is there, and does nothing. */
  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }
}
