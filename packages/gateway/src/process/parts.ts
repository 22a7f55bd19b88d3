// What the primary is made from, opened in order. What is open goes onto a stack, so that whatever fails, and at the stop, all is
// closed in the reverse order.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { openPassage, type Passage } from '@xengate/channel'
import type { Config, PoolConfig } from '../config/config.ts'
import { Audit } from '../logging/audit.ts'
import type { LogEvent } from '../logging/event.ts'
import type { Log } from '../logging/log.ts'
import { LimitHits } from '../metrics/limit-hits.ts'
import type { LimitName } from '../model/limit-names.ts'
import { hostOf } from '../model/origin.ts'
import type { Identity } from '../sessions/accounts/identity.ts'
import { isNarrow, makeStateDirectory, whyNot } from '../state-directory.ts'
import { version } from '../version.ts'
import type { XenApiLog } from '../xenapi/call-log.ts'
import type { ServiceChanges } from '../services/registry.ts'
import { pluginCalls } from './plugin-calls.ts'
import type { XenApiPool } from '../xenapi/records.ts'
import { createXenApi, type XenApi } from '../xenapi/server.ts'
import { type Account, accountOf } from './account.ts'
import { Backends } from './backends/backends.ts'
import type { Link } from './link.ts'
import { Listeners } from './listeners.ts'
import { bindListener, listenPrivately, OPEN_SOCKET_FILE, removeStaleSocket } from './listening-socket.ts'
import type { Predecessor } from './predecessor.ts'
import { closeServer } from './servers.ts'
import { SessionBroker } from './session-broker.ts'
import { PASSAGE_GIVE, PASSAGE_TAKE, sockets } from './sockets.ts'
import { Statistics } from './statistics.ts'
import { readTlsPair } from './tls-files.ts'
import { type Heard, joinPredecessor } from './upgrade.ts'
import type { WorkerSockets } from './worker-group.ts'
import { WorkerGroups } from './worker-groups.ts'

const XENAPI_SOCKET = 'xenapi.sock'
const RETURN_SOCKET = 'gateway.sock'

/** The configuration in force: it follows a reload. */
export interface InForce {
  config: Config
}

/** All of them, open. */
export interface Parts {
  readonly inForce: InForce
  readonly audit: Audit | null
  readonly backends: Backends
  readonly broker: SessionBroker
  readonly statistics: Statistics
  /** Null where clients log in elsewhere. */
  readonly xenapi: XenApi | null
  /** Aborts when the daemon stops: calls of the XenAPI that wait for events are answered then. */
  readonly stopping: AbortController
  readonly listeners: Listeners
  readonly returns: WorkerSockets['returns'] & { readonly close: () => void }
  readonly groups: WorkerGroups
  /** To processes whose place this one takes, or that take its place. */
  readonly links: Set<Link>
  /** Where workers give connections on which nothing is asked to newer ones. */
  readonly passage: Passage
  readonly heard: Heard
  /** To the one whose place this process takes; null: nobody's. */
  readonly predecessor: Link | null
}

/**
 * Opens them; nothing serves clients yet.
 * @param closers takes what closes them
 * @param predecessor whose place this process takes; null: nobody's
 * @throws when something cannot be had
 */
export async function openParts(
  config: Config,
  log: Log,
  closers: AsyncDisposableStack,
  predecessor: Predecessor | null,
): Promise<Parts> {
  const inForce: InForce = { config }
  const audit = config.log.audit ? new Audit(config.log.syslog) : null
  const groups = new WorkerGroups()
  const statistics = new Statistics()
  const links = new Set<Link>()
  const heard: Heard = { given: () => {}, main: () => {} }
  const passage = openThePassage()
  await takeStateDirectory(config.stateDir)
  if (isNarrow(config.stateDir)) log.warn({ event: 'state-directory-narrow', path: config.stateDir, wanted: '0711' })
  const limits = new LimitHits(statistics.own, (event) => log.warn(event))
  const limited = (limit: LimitName): void => limits.hit(limit)
  const backends = await Backends.open(config, log, limited, {
    placesChanged: (changes) => groups.placesChanged(changes),
    ownHostKnown: (ref) => groups.ownHostKnown(ref),
  })
  backends.ownHost = predecessor?.ownHost ?? null
  closers.defer(() => backends.close())
  const broker = new SessionBroker(
    backends.authority,
    async (uuids) => {
      await Promise.all([groups.ended(uuids), ...[...links].map((link) => link.ended(uuids))])
    },
    (uuids, why) => groups.forgotten(uuids, why),
    (error) => backends.report('authority-unavailable', error),
  )
  // Before anything ends here.
  const link = predecessor === null ? null : joinPredecessor({ broker, groups, statistics, links }, predecessor, heard)
  backends.start(link !== null)
  const stopping = new AbortController()
  const signedLog = watchedLog(log, ({ event, ...particulars }) => {
    if (event === 'xenapi-busy') {
      limits.hit('calls', null, Number(particulars['refused']))
      return
    }
    countSignIn(statistics, config, event)
    audit?.act(event, particulars)
  })
  const xenapi = openXenApi(inForce, backends, signedLog, stopping.signal)
  // Only workers may reach it: it believes what they say of the client.
  if (xenapi !== null) {
    closers.defer(() => closeServer(xenapi.server))
    await listenPrivately(xenapi.server, xenapiPathIn(config), workerAccount(config))
  }
  const returns = await openReturns(config, predecessor)
  closers.defer(() => returns.close())
  const listeners = new Listeners()
  closers.defer(() => listeners.close())
  checkTlsFiles(config)
  await listeners.take(config)
  return {
    inForce,
    audit,
    backends,
    broker,
    statistics,
    xenapi,
    stopping,
    listeners,
    returns,
    groups,
    links,
    passage,
    heard,
    predecessor: link,
  }
}

/** The one of the process whose place this one takes goes on, and the one that the service manager has kept. */
function openThePassage(): Passage {
  const [give, take] = [sockets.take(PASSAGE_GIVE), sockets.take(PASSAGE_TAKE)]
  const passage = give && take ? { giveFd: give.fd, takeFd: take.fd } : openPassage()
  if (passage === null) throw new Error('cannot have a pair of sockets for connections that pass between workers')
  sockets.hold({ key: PASSAGE_GIVE, fd: passage.giveFd, isManagers: false })
  sockets.hold({ key: PASSAGE_TAKE, fd: passage.takeFd, isManagers: false })
  return passage
}

/** The state directory cannot be used: the text says why. */
export class StateDirectoryError extends Error {
  override readonly name = 'StateDirectoryError'
  readonly code: 'STATE_UNUSABLE' | 'STATE_BUSY'

  constructor(code: StateDirectoryError['code'], message: string, options: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Makes the state directory, unless another daemon is running with it. @throws {StateDirectoryError} */
async function takeStateDirectory(path: string): Promise<void> {
  try {
    makeStateDirectory(path)
  } catch (cause) {
    throw new StateDirectoryError('STATE_UNUSABLE', `cannot use the state directory ${path}: ${whyNot(cause)}`, {
      cause,
    })
  }
  const xenapi = join(path, XENAPI_SOCKET)
  if (sockets.isGiven(xenapi)) return
  try {
    await removeStaleSocket(xenapi)
  } catch (cause) {
    const why = 'another xengate is running with it'
    throw new StateDirectoryError('STATE_BUSY', `cannot use the state directory ${path}: ${why}`, { cause })
  }
}

/** Where workers reach the XenAPI. */
export function xenapiPathIn({ stateDir }: Config): string {
  return join(stateDir, XENAPI_SOCKET)
}

/** The socket where services bring back requests, and the key by which workers recognise what they told services to say there. */
async function openReturns({ stateDir }: Config, predecessor: Predecessor | null): Promise<Parts['returns']> {
  const path = join(stateDir, RETURN_SOCKET)
  const bound = await bindListener({ kind: 'unix', path }, OPEN_SOCKET_FILE)
  // Services have been told it for as long as their channels live.
  const key = predecessor?.returnKey ?? randomBytes(32).toString('hex')
  return { fd: bound.fd, path, key, close: () => bound.close() }
}

/** Not listening yet; null where clients log in elsewhere. */
function openXenApi(inForce: InForce, backends: Backends, log: XenApiLog, stopping: AbortSignal): XenApi | null {
  if (backends.xenapi === null) return null
  const { authority, identity } = backends.xenapi
  const pool = xenApiPool(
    identity,
    () => inForce.config.pool,
    () => backends.places,
  )
  const callPlugin = pluginCalls(() => inForce.config, workerAccount)
  return createXenApi({ authority, pool, clock: Date.now, log, draining: stopping, version: version(), callPlugin })
}

/** What the XenAPI tells of pool and host. */
function xenApiPool(
  { poolUuid, hostUuid }: Identity,
  pool: () => PoolConfig,
  places: () => ServiceChanges,
): XenApiPool {
  return {
    poolUuid,
    hostUuid,
    get poolName() {
      return pool().name
    },
    get hostName() {
      return pool().host
    },
    get hostAddress() {
      const { address } = pool()
      return address === null ? '127.0.0.1' : hostOf(address)
    },
    get otherAddresses() {
      return [...new Set(places().flatMap(([, origins]) => origins.map((origin) => hostOf(origin))))]
    },
  }
}

/** What the XenAPI's log tells of who signs in, for the audit and the counts as well; and of calls that are too many. */
const SIGNED: ReadonlySet<string> = new Set(['sign-in', 'sign-in-failed', 'sign-out', 'xenapi-busy'])

/** @param signed told of each such event */
function watchedLog(log: Log, signed: (event: LogEvent) => void): XenApiLog {
  const watched = (event: LogEvent): void => {
    if (SIGNED.has(event.event)) signed(event)
  }
  return {
    info: (event) => {
      log.info(event)
      watched(event)
    },
    warn: (event) => {
      log.warn(event)
      watched(event)
    },
    error: (event) => log.error(event),
  }
}

function countSignIn({ own }: Statistics, { sessions: { authority } }: Config, event: string): void {
  if (event === 'sign-in') own.count('xengate_sign_ins_total', authority, 'ok')
  else if (event === 'sign-in-failed') own.count('xengate_sign_ins_total', authority, 'refused')
}

/** @throws {TlsFilesError} here, rather than in each worker, when a listener's certificate cannot be used */
export function checkTlsFiles({ listen }: Config): void {
  for (const { tls } of listen) if (tls !== null) readTlsPair(tls)
}

/** Whom workers run as; null: this process's user. */
export function workerAccount({ workerUser }: Config): Account | null {
  return workerUser === null ? null : accountOf(workerUser)
}
