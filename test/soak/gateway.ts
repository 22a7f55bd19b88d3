// The real daemon, from source so that its blocks can be counted, and what its worker has in use.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Child } from '../harness/child.ts'
import { Daemon, Place } from '../harness/daemon.ts'
import type { Scope } from '../harness/scope.ts'

const MAIN = fileURLToPath(new URL('../../packages/gateway/src/main.ts', import.meta.url))
const WORKER_BLOCKS = fileURLToPath(new URL('worker-blocks.ts', import.meta.url))

/** What a worker has in use. */
export interface InUse {
  readonly descriptors: number
  /** Of memory for bodies. */
  readonly blocks: number
  readonly memoryMib: number
}

/** A daemon that runs on the transport that is asked for. */
export interface Gateway {
  /** Where it listens, by TCP and at a Unix socket. */
  readonly urls: readonly [string, ...string[]]
  readonly session: string
  /** Path of a service's socket. */
  readonly socket: (name: string) => string
  readonly inUse: () => InUse
  /** Lines of its log in which one of `texts` is. */
  readonly logged: (texts: readonly string[]) => readonly string[]
}

/** @param reusing name of the service whose connections are used again after bodies @throws when it runs on another transport */
export async function startGateway(scope: Scope, transport: 'net' | 'ring', reusing: string): Promise<Gateway> {
  const place = await Place.make(scope, {
    listen: ['127.0.0.1:0', 'unix:clients.sock'],
    services: `[services.policy."${reusing}"]\nreuse = "always"`,
    transport,
  })
  await place.addDefaultUser()
  const argv = ['-C', '@xengate/source', '--import', pathToFileURL(WORKER_BLOCKS).href, MAIN, 'serve']
  const child = new Child(scope, process.execPath, [...argv, '--config', place.configuration], {
    cwd: place.directory,
    env: { ...process.env, SOAK_BLOCKS: place.directory },
  })
  const daemon = new Daemon(place, child)
  await daemon.event(({ event }) => event === 'started', 'its start')
  const ready = await daemon.event(({ event }) => event === 'worker-ready', 'its worker')
  const runs = ready['transport'] as { readonly name: string; readonly reason: string }
  if (runs.name !== transport) throw new Error(`the daemon runs on ${runs.name}: ${runs.reason}`)
  const worker = Number(ready['worker'])
  return {
    urls: [daemon.url, `unix:${join(place.directory, 'clients.sock')}`],
    session: await daemon.login(),
    socket: (name) => place.socket(name),
    logged: (texts) => child.stdout.split('\n').filter((line) => texts.some((text) => line.includes(text))),
    inUse: () => {
      if (daemon.workerPids.length !== 1 || child.hasEnded) {
        throw new Error(`the worker has ended:\n${child.stdout.slice(-4000)}${child.stderr.slice(-4000)}`)
      }
      return {
        descriptors: readdirSync(`/proc/${worker}/fd`).length,
        blocks: Number(read(join(place.directory, `${worker}.blocks`)) || Number.NaN),
        memoryMib: Number(/^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${worker}/status`))?.[1]) / 1024,
      }
    },
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
