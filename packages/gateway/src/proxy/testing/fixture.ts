// A gateway in the test's own process, on a real port, and services in literal bytes on real Unix sockets.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Counters } from '../../metrics/counters.ts'
import type { LogEvent } from '../../logging/event.ts'
import type { LimitsConfig } from '../../model/limits.ts'
import type { OverloadConfig, OverloadState } from '../../model/overload.ts'
import type { AccessFields, ChannelFields } from '../../logging/access.ts'
import { HostNames } from '../admission/host-names.ts'
import { Policies, type PolicySetting } from '../../model/policy.ts'
import { staticRegistry } from '../../services/registry.ts'
import type { Session } from '../../model/session.ts'
import { SessionTable } from '../../sessions/table.ts'
import type { PluginAnswers } from '../../xenapi/plugin-answers.ts'
import { type ListenerTraits, PLAIN_LISTENER } from '../arrival/arrival.ts'
import { Gateway } from '../gateway.ts'
import { Greetings } from '../heads/greetings.ts'
import type { EndedTask } from '../journal.ts'
import type { Front } from '../upstream/target.ts'
import { transportOf } from './each-transport.ts'
import { Arrivals, Peer } from './peer.ts'

export const ROOT_ID: string = 'OpaqueRef:11111111-1111-4111-8111-111111111111'
export const READER_ID: string = 'OpaqueRef:22222222-2222-4222-8222-222222222222'
/** Cookie line of root's session. */
export const COOKIE: string = `Cookie: session_id=${ROOT_ID}\r\n`

const LIMITS: LimitsConfig = {
  headBytes: 16_384,
  targetBytes: 8192,
  connections: 1000,
  share: 100,
  headTimeoutMs: 10_000,
  idleTimeoutMs: 10_000,
  connectTimeoutMs: 5000,
  responseTimeoutMs: 10_000,
  bodyIdleTimeoutMs: 10_000,
  drainTimeoutMs: 5000,
  requestMinRate: 0,
  responseMinRate: 0,
}

/** A session of somebody. */
export function sessionOf(uuid: string, user: string, role: Session['roles'][number]): Session {
  const isRoot = user === 'root'
  const subject = isRoot ? 'OpaqueRef:NULL' : `OpaqueRef:${uuid}`
  return { uuid, user, subject, roles: [role], originator: 'test', isLocalSuperuser: isRoot }
}

/** What no machine reaches. */
const NO_OVERLOAD: OverloadConfig = { descriptors: Infinity, memory: Infinity, eventLoopDelayMs: Infinity }

/** What a test may set. */
export interface FixtureOptions {
  readonly limits?: Partial<LimitsConfig>
  readonly methods?: readonly string[]
  readonly policies?: Readonly<Record<string, PolicySetting>>
  readonly hostNames?: readonly string[]
  readonly front?: Front
  readonly plugins?: PluginAnswers
  readonly listener?: Partial<ListenerTraits>
  /** What of `[overload]` is in force, and of how many descriptors. */
  readonly overload?: Partial<OverloadConfig>
  readonly descriptorsMax?: number
  readonly burstOver?: () => void
  /** Told of problems, none of which is expected without it. */
  readonly problem?: (event: string, code: string) => void
  readonly elsewhere?: Readonly<Record<string, string>>
  /** Takes a question about an id instead of answering it at once. */
  readonly onQuestion?: (id: string, answer: (found: Session | null | 'unavailable') => void) => void
}

/** A service in literal bytes: its connections, in the order of arrival. */
export interface RawService {
  readonly connections: Arrivals<Peer>
  readonly server: net.Server
  readonly path: string
  close(): Promise<void>
}

export interface Fixture {
  readonly gateway: Gateway
  readonly sessions: SessionTable
  /** Live sessions by id; change it at will. */
  readonly live: Map<string, Session>
  readonly directory: string
  readonly port: number
  readonly greetings: Greetings
  readonly accessLines: Arrivals<AccessFields>
  readonly channelLines: Arrivals<ChannelFields>
  readonly endedTasks: Arrivals<EndedTask>
  /** Stages of overload, each when it begins. */
  readonly stages: Arrivals<OverloadState>
  /** What was said of limits and services. */
  readonly said: Arrivals<LogEvent>
  readonly counters: Counters
  /** Clients that were made. */
  readonly peers: readonly Peer[]
  readonly client: () => Peer
  readonly service: (name: string) => Promise<RawService>
}

/** Starts a gateway; everything ends with the test. */
export async function fixture(t: TestContext, options: FixtureOptions = {}): Promise<Fixture> {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  const live = new Map<string, Session>([
    [ROOT_ID, sessionOf('11111111', 'root', 'pool-admin')],
    [READER_ID, sessionOf('22222222', 'reader', 'read-only')],
  ])
  const accessLines = new Arrivals<AccessFields>()
  const channelLines = new Arrivals<ChannelFields>()
  const endedTasks = new Arrivals<EndedTask>()
  const stages = new Arrivals<OverloadState>()
  const said = new Arrivals<LogEvent>()
  const onQuestion =
    options.onQuestion ??
    ((id: string, answer: (found: Session | null) => void) => queueMicrotask(() => answer(live.get(id) ?? null)))
  const sessions: SessionTable = new SessionTable(
    (id) => onQuestion(id, (found) => sessions.answered(id, found, gateway.clock.nowMs)),
    (uuids) => gateway.sessionsEnded(uuids),
    () => {},
    { idleTimeoutMs: 60_000, tellIntervalMs: 1000, silenceMs: 60_000 },
  )
  const greetings = new Greetings('00'.repeat(32))
  const counters = Counters.private()
  const gateway: Gateway = new Gateway({
    transport: transportOf(t),
    limits: { ...LIMITS, ...options.limits },
    methods: options.methods ?? ['GET', 'PUT', 'POST'],
    directories: () => [join(directory, 'first'), directory],
    policies: new Policies(options.policies ?? {}, true),
    registry: staticRegistry(options.elsewhere ?? {}, null),
    sessions,
    front: options.front ?? null,
    plugins: options.plugins ?? null,
    xenapiPath: join(directory, 'xenapi.sock'),
    hasSignInPage: false,
    dashboardPath: join(directory, 'dashboard.sock'),
    returnPath: join(directory, 'gateway.sock'),
    greetings,
    idPrefix: 'test',
    debug: null,
    problem: options.problem ?? ((event, code) => assert.fail(`${event}: ${code}`)),
    burstOver: options.burstOver ?? (() => {}),
    counters,
    hostNames: new HostNames(options.hostNames ?? []),
    hasHealth: true,
    beginSpan: null,
    overload: { ...NO_OVERLOAD, ...options.overload },
    descriptorsMax: options.descriptorsMax ?? Number.POSITIVE_INFINITY,
    overloaded: (state) => stages.push(state),
    say: (_level, event) => said.push(event),
    access: (line) => accessLines.push(line),
    channel: (line) => channelLines.push(line),
    taskEnded: (ended) => endedTasks.push(ended),
  })
  const port = await gateway.listen({ host: '127.0.0.1', port: 0 }, { ...PLAIN_LISTENER, ...options.listener })
  await gateway.listen({ path: join(directory, 'gateway.sock') }, { ...PLAIN_LISTENER, canPass: false, greetings })
  const peers: Peer[] = []
  const services: RawService[] = []
  t.after(async () => {
    gateway.destroy()
    for (const peer of peers) peer.destroy()
    await Promise.all(services.map((service) => service.close()))
    rmSync(directory, { recursive: true, force: true })
  })
  return {
    gateway,
    sessions,
    live,
    directory,
    port,
    greetings,
    accessLines,
    channelLines,
    endedTasks,
    stages,
    said,
    counters,
    peers,
    client: () => {
      const peer = Peer.connect({ port })
      peers.push(peer)
      return peer
    },
    service: async (name) => {
      const service = await rawService(join(directory, name))
      services.push(service)
      return service
    },
  }
}

/** Starts a service at a Unix socket, or at a free port of the loopback. */
export async function rawService(where: string | { port: 0 }): Promise<RawService> {
  const connections = new Arrivals<Peer>()
  const peers: Peer[] = []
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const peer = new Peer(socket)
    peers.push(peer)
    connections.push(peer)
  })
  await new Promise<void>((resolve) => {
    if (typeof where === 'string') server.listen(where, resolve)
    else server.listen(where.port, '127.0.0.1', resolve)
  })
  return {
    connections,
    server,
    path: typeof where === 'string' ? where : '',
    close: () => {
      for (const peer of peers) peer.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** The text of a request for the service `svc`, with root's cookie. */
export function request(method: string, path = '/', lines = '', body = ''): string {
  return `${method} /services/plugin/svc${path} HTTP/1.1\r\nHost: h\r\n${COOKIE}${lines}\r\n${body}`
}

/** The text of a 200 with `body`. */
export function response(body: string, lines = ''): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${lines}\r\n${body}`
}

/** The status code of a response's text. */
export function statusOf(text: string): number {
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1])
}

/** A response's text without the line by which the gateway names the request. */
export function withoutId(text: string): string {
  return text.replace(/X-Request-Id: test-\w+\r\n/, '')
}
