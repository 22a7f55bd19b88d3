// A library's program behind a played gateway.

import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Arrivals, Peer } from '../../packages/gateway/src/proxy/testing/peer.ts'
import { PlayedGateway, SERVICE_NAME } from '../../packages/service/src/testing/gateway.ts'
import { Child } from '../harness/child.ts'
import { until } from '../harness/deadline.ts'
import { RawClient } from '../harness/raw.ts'
import { type Scope, scopeOf } from '../harness/scope.ts'
import { argvOf, ENV, type Library, type Options } from './library.ts'

export const DEADLINE = { timeout: 60_000 }
export const OTHER_SESSION = 'Cookie: session_id=other\r\n'

/** A service that runs, as one test sees it. */
export interface Running {
  readonly scope: Scope
  readonly gateway: PlayedGateway
  readonly child: Child
  /** Path of the plain socket. */
  readonly path: string
  /** Requests that are forwarded. */
  readonly forwarded: Arrivals<Peer>
  /** Connects a client whose connection is passed to the service. */
  readonly client: () => Promise<RawClient>
  /** Connects to the plain socket, as the gateway does to relay. */
  readonly relayed: () => Promise<RawClient>
  /** What the service has printed on standard error since the test began. */
  readonly errors: () => string
  /** Waits until the service has printed a line since the test began. */
  readonly printed: (line: string) => Promise<void>
}

interface Started {
  readonly gateway: PlayedGateway
  readonly child: Child
  readonly path: string
}

/** A library in the suite: most tests share one process of its program. */
export class Rig {
  readonly library: Library
  readonly #suite: Scope
  #shared: Promise<Started> | undefined

  constructor(suite: Scope, library: Library) {
    this.#suite = suite
    this.library = library
  }

  /** The service that tests share, for one that leaves it as it was. */
  async running(t: TestContext): Promise<Running> {
    this.#shared ??= start(this.#suite, this.library)
    return this.#seenBy(t, await this.#shared)
  }

  /** A service for this test alone. */
  async started(t: TestContext, options: Options = {}): Promise<Running> {
    const scope = scopeOf(t)
    return view(scope, await start(scope, this.library, options))
  }

  #seenBy(t: TestContext, started: Started): Running {
    const { gateway } = started
    gateway.offer = {}
    gateway.channels.length = 0
    return view(scopeOf(t), started)
  }
}

function view(scope: Scope, { gateway, child, path }: Started): Running {
  const forwarded = new Arrivals<Peer>()
  gateway.onForwarded = (socket) => {
    scope.defer(() => void socket.destroy())
    forwarded.push(new Peer(socket))
  }
  const [stdoutStart, stderrStart] = [child.stdout.length, child.stderr.length]
  const errors = (): string => child.stderr.slice(stderrStart)
  scope.onFailure(errors)
  const connect = async (url: string): Promise<RawClient> => {
    const made = await RawClient.connect(url)
    scope.defer(() => made.destroy())
    return made
  }
  return {
    scope,
    gateway,
    child,
    path,
    forwarded,
    client: () => connect(`http://127.0.0.1:${gateway.port}`),
    relayed: () => connect(`unix:${path}`),
    errors,
    printed: async (line) => {
      await child.printed(({ stdout }) => stdout.slice(stdoutStart).includes(`${line}\n`) || undefined, `"${line}"`)
    },
  }
}

async function start(scope: Scope, library: Library, options: Options = {}): Promise<Started> {
  const gateway = new PlayedGateway()
  await gateway.listen()
  scope.defer(() => gateway.close())
  const [command, argv] = argvOf(library, gateway.directory, SERVICE_NAME, options)
  const child = new Child(scope, command, argv, { env: ENV })
  const path = join(gateway.directory, SERVICE_NAME)
  await listens(path, child)
  if (options.channels !== false) await listens(`${path}.channel`, child)
  return { gateway, child, path }
}

/** Waits until somebody listens at `path`. */
export async function listens(path: string, child: Child): Promise<void> {
  const made = await until(() => {
    if (child.hasEnded) throw new Error(`the service has ended: ${child.stderr}`)
    return RawClient.connect(`unix:${path}`).catch(() => undefined)
  }, `somebody to listen at ${path}`)
  made.destroy()
}
