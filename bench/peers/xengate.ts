// Xengate: the real daemon, from source, started as an operator would; with the embedded authority unless a variant has another.

import { randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundle } from '../../packaging/bundle.ts'
import { openDatabase, transaction } from '../../packages/gateway/src/sessions/embedded/database.ts'
import { SessionRows } from '../../packages/gateway/src/sessions/embedded/session-rows.ts'
import { UserStore } from '../../packages/gateway/src/sessions/embedded/users.ts'
import { type Bench, newSessionId, SERVICE, writeSessions } from '../bench.ts'
import type { Host, Started } from '../host.ts'
import { fillTable } from '../load.ts'
import { type Authority, startAuthority } from './authorities.ts'
import { startNodeService } from './node-service.ts'
import type { Peer, Running } from './peer.ts'

const USER = 'bench'
const PASSWORD = 'correct horse battery'

/** How one Xengate differs from another. */
interface Variant {
  readonly name: string
  readonly title: string
  /** How it has its connections; default: net. */
  readonly transport?: 'net' | 'ring'
  readonly workers?: number
  /** Runs on both cores, beside the load. */
  readonly isUnpinned?: boolean
  readonly logsAccess?: boolean
  /** Of the service's policy; default: without-body. */
  readonly reuse?: 'always' | 'without-body'
  /** The service is one on Node.js, on the peer's core, to which connections are passed or requests relayed. */
  readonly nodeService?: 'channel' | 'relay'
  /** Where that service runs. Default: the peer's core. */
  readonly servicePlace?: 'peer' | 'load'
  /** The bundled application; `dom0`: with the settings of that package's unit. */
  readonly packed?: 'plain' | 'dom0'
  /** Default: embedded. */
  readonly authority?: Authority['name']
  /** Live sessions, all in the worker's table; default: one, from a login. */
  readonly sessions?: number
}

/** The peer, or a variant of it. */
export function xengate(variant: Variant): Peer {
  const { name, title, transport } = variant
  return { name, title, isGuarded: true, isOnRing: transport === 'ring', start: (bench) => start(bench, variant) }
}

/** Name of the peer with `count` live sessions. */
export function sessionsPeer(count: number, transport: 'net' | 'ring'): string {
  return transport === 'net' ? `xengate-${count}-sessions` : `xengate-ring-${count}-sessions`
}

const XENGATE = ['-C', '@xengate/source', join(import.meta.dirname, '../../packages/gateway/src/main.ts')]

async function start(bench: Bench, variant: Variant): Promise<Running> {
  const { host } = bench
  const directory = host.makeDirectory('xengate')
  const path = join(directory, 'xengate.toml')
  mkdirSync(join(directory, 'state'))
  const service =
    variant.nodeService === undefined ? undefined : await startNodeService(host, variant.servicePlace ?? 'peer')
  const authority = variant.authority === undefined ? undefined : await startAuthority(host, variant.authority)
  const asInDom0 = variant.packed === 'dom0' ? `[host]\ndata-sources = true\nmetrics-directory = "${directory}"\n` : ''
  writeFileSync(path, configuration(service?.directory ?? bench.services, variant, authority) + asInDom0)
  if (authority?.login == null) await addUser(host, path)
  const written = variant.sessions === undefined ? null : writeRows(host, directory, variant.sessions)
  const place = variant.isUnpinned === true ? 'both' : 'peer'
  const { env, argv } = await program(host, variant.packed)
  const started = host.start(place, process.execPath, [...argv, 'serve', '--config', path], { env })
  const url = await readUrl(host, started)
  expectTransport(started, variant)
  const sessions = written ?? writeSessions(host, [await (authority?.login?.(USER) ?? login(url))])
  const gatewayPids = [started.pid]
  const running = {
    url,
    pids: service === undefined || variant.servicePlace === 'load' ? gatewayPids : [...gatewayPids, service.pid],
    gatewayPids,
    sessions,
    stop: async () => {
      await started.stop()
      await service?.stop()
      await authority?.stop()
    },
  }
  if (variant.sessions !== undefined) await fillTable(bench, running, variant.sessions)
  return running
}

/** How Node.js is started, and with which variables. */
interface Program {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

const UNIT = join(import.meta.dirname, '../../packaging/files/dom0/xengate.service')

async function program(host: Host, packed: Variant['packed']): Promise<Program> {
  if (packed === undefined) return { argv: XENGATE, env: {} }
  const app = host.makeDirectory('app')
  await bundle(app)
  const main = join(app, 'dist/main.js')
  if (packed === 'plain') return { argv: [main], env: {} }
  const unit = readFileSync(UNIT, 'utf8')
  const flags = /^ExecStart=\S+ ((?:--\S+ )*)/m.exec(unit)?.[1]?.trim().split(' ') ?? []
  const env = [...unit.matchAll(/^Environment=(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value])
  return { argv: [...flags, main], env: Object.fromEntries(env) as Record<string, string> }
}

async function addUser(host: Host, path: string): Promise<void> {
  const add = ['user', 'add', USER, '--role', 'pool-admin', '--password-stdin', '--config', path]
  await host.run('both', process.execPath, [...XENGATE, ...add], `${PASSWORD}\n`)
}

function configuration(
  services: string,
  { transport = 'net', workers = 1, logsAccess = false, nodeService, reuse = 'without-body' }: Variant,
  authority: Authority | undefined,
): string {
  return `state-dir = "state"
workers = ${workers}
transport = "${transport}"
[[listen]]
address = "127.0.0.1:0"
[services]
directories = ["${services}"]
channels = ${nodeService !== 'relay'}
[services.policy."${SERVICE}"]
reuse = "${reuse}"
[sessions]
authority = "${authority?.name ?? 'embedded'}"
max-per-user = 1000000
max-per-originator = 1000000
[limits]
connections = 20000
[log]
access = ${logsAccess}
${authority?.table ?? ''}`
}

/** @throws when the daemon's workers have their connections in another way than is measured */
function expectTransport(started: Started, { transport = 'net' }: Variant): void {
  const [, name, reason] = /"transport":\{"name":"(\w+)","reason":"((?:[^"\\]|\\.)*)"/.exec(started.output()) ?? []
  if (name !== transport) throw new Error(`Xengate runs on ${name}, not on ${transport}: ${reason}`)
}

function readUrl(host: Host, started: Started): Promise<string> {
  return host.printed(started, (output) => /"event":"started","listen":\["(http:[^"]*)"/.exec(output)?.[1])
}

async function login(url: string): Promise<string> {
  const call = { jsonrpc: '2.0', id: 1, method: 'session.login_with_password', params: [USER, PASSWORD] }
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${url}/jsonrpc`, { method: 'POST', headers, body: JSON.stringify(call) })
  const { result } = (await response.json()) as { result?: unknown }
  if (typeof result !== 'string') throw new Error(`cannot log in to Xengate: it answers ${response.status}`)
  return result
}

/** Writes sessions straight into the database: a million logins would hash a million passwords. */
function writeRows(host: Host, directory: string, count: number): string {
  const db = openDatabase(join(directory, 'state', 'xengate.db'))
  const ids = Array.from({ length: count }, () => newSessionId())
  try {
    const [user] = new UserStore(db).list()
    const rows = new SessionRows(db)
    const nowMs = Date.now()
    db.exec('PRAGMA synchronous = OFF')
    transaction(db, () => {
      for (const id of ids) {
        rows.insert({ id, uuid: randomUUID(), userUuid: user?.uuid ?? '', originator: '', clientAddress: '', nowMs })
      }
    })
  } finally {
    db.close()
  }
  return writeSessions(host, ids)
}
