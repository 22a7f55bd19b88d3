// A worker process: one gateway, on the primary's listening sockets, with a table of sessions that the primary fills.

import { randomBytes } from 'node:crypto'
import { channelLine } from '../logging/access.ts'
import { createLog, type Log } from '../logging/log.ts'
import type { ListenConfig } from '../config/schema.ts'
import { type ListenerTraits, PLAIN_LISTENER } from '../proxy/arrived.ts'
import { Gateway } from '../proxy/gateway.ts'
import { TlsCredentials, type TlsEvent } from '../proxy/tls-credentials.ts'
import { Policies } from '../services/policy.ts'
import { staticRegistry } from '../services/registry.ts'
import { SessionTable } from '../sessions/table.ts'
import { ALIVE_INTERVAL_MS, type ToPrimary, type ToWorker } from './messages.ts'

/** How often activity of one session is noted, and how often the primary is told what was noted: at most this late each. */
const TOUCH_INTERVAL_MS = 10_000
const TELL_INTERVAL_MS = 1000
/** Neither is more than this part of the idle timeout. */
const IDLE_TIMEOUT_PARTS = 8

type StartMessage = Extract<ToWorker, { type: 'start' }>

/** Serves until the primary says otherwise, or is gone. */
export function runWorker(self: NodeJS.Process): void {
  const tell = (message: ToPrimary): void => {
    if (self.connected) self.send?.(message)
  }
  // A terminal's Ctrl-C and a service manager's stop reach every process of the group: the primary decides.
  self.on('SIGINT', () => {})
  self.on('SIGTERM', () => {})
  self.on('SIGHUP', () => {})
  // Without the primary no logout would be heard of: nothing may be admitted any more.
  self.on('disconnect', () => self.exit(1))

  let worker: Worker | undefined
  self.on('message', (message: ToWorker) => {
    if (message.type === 'start') {
      worker = new Worker(message, tell)
      worker.start(message).catch((error: unknown) => {
        tell({ type: 'failed', problem: error instanceof Error ? error.message : String(error) })
      })
    } else {
      worker?.take(message)
    }
  })
}

class Worker {
  readonly #gateway: Gateway
  readonly #sessions: SessionTable
  readonly #log: Log
  readonly #tell: (message: ToPrimary) => void
  readonly #touchTimer: NodeJS.Timeout
  /** When the primary was heard of last, and how long it may be silent, in milliseconds. */
  #heardMs = performance.now()
  readonly #trustMs: number

  constructor({ config, xenapiPath, returnPath }: StartMessage, tell: (message: ToPrimary) => void) {
    this.#tell = tell
    this.#log = createLog(config.log)
    this.#sessions = new SessionTable(
      (id) => tell({ type: 'find', id }),
      (uuid) => this.#gateway.sessionEnded(uuid),
      config.sessions.idleTimeoutMs,
      Math.min(TOUCH_INTERVAL_MS, config.sessions.idleTimeoutMs / IDLE_TIMEOUT_PARTS),
    )
    const { services, pool, limits } = config
    this.#gateway = new Gateway({
      limits,
      methods: services.methods,
      directories: services.directories,
      policies: new Policies(services.policy, services.channels),
      registry: staticRegistry(pool.registry === 'static' ? pool.static : {}, pool.address),
      sessions: this.#sessions,
      front: config.front,
      xenapiPath,
      returnPath,
      idPrefix: randomBytes(6).toString('hex'),
      problem: (event, code) => this.#log.error({ event, code }),
      access: config.log.access ? (line) => this.#log.access(line) : null,
      channel: config.log.access ? (line) => this.#log.info(channelLine(line)) : null,
    })
    this.#trustMs = config.sessions.staleGraceMs + 2 * ALIVE_INTERVAL_MS
    this.#touchTimer = setInterval(
      () => {
        this.#sessions.isTrusted = performance.now() - this.#heardMs <= this.#trustMs
        this.#reportTouched()
      },
      Math.min(TELL_INTERVAL_MS, config.sessions.idleTimeoutMs / IDLE_TIMEOUT_PARTS),
    )
  }

  async start({ config, listenFds, returnFd }: StartMessage): Promise<void> {
    for (const [index, fd] of listenFds.entries())
      await this.#gateway.listen({ fd }, this.#traits(config.listen[index]))
    await this.#gateway.listen({ fd: returnFd }, { ...PLAIN_LISTENER, canPass: false })
    this.#tell({ type: 'ready' })
  }

  #traits(listen: ListenConfig | undefined): ListenerTraits {
    if (listen === undefined) return PLAIN_LISTENER
    const tls = listen.tls === null ? null : new TlsCredentials(listen.tls, (event) => this.#tlsChanged(event))
    return { canPass: true, hasProxyHeader: listen.proxyProtocol, tls }
  }

  #tlsChanged(event: TlsEvent): void {
    if (event.kind === 'reloaded') this.#log.info({ event: 'tls-reloaded', certificate: event.certificate })
    else this.#log.error({ event: 'tls-reload-refused', problem: event.problem })
  }

  take(message: Exclude<ToWorker, StartMessage>): void {
    switch (message.type) {
      case 'found':
        this.#sessions.answered(message.id, message.session, this.#gateway.clock.nowMs)
        break
      case 'ended':
        this.#sessions.ended(message.uuids)
        this.#tell({ type: 'confirmed', ending: message.ending })
        break
      case 'services':
        this.#gateway.usePolicies(new Policies(message.services.policy, message.services.channels))
        break
      case 'alive':
        this.#heardMs = performance.now()
        this.#sessions.isTrusted = true
        break
      case 'drain':
        this.#gateway.drain().then(
          () => this.#exit(),
          (error: unknown) => this.#fail(error),
        )
        break
    }
  }

  #reportTouched(): void {
    const uuids = this.#sessions.takeTouched(this.#gateway.clock.nowMs)
    if (uuids.length > 0) this.#tell({ type: 'touched', uuids })
  }

  #exit(): void {
    clearInterval(this.#touchTimer)
    this.#reportTouched()
    this.#log.flush()
    // What was told has to be out before the channel closes; nothing else keeps the process.
    process.removeAllListeners('disconnect')
    process.disconnect?.()
  }

  #fail(error: unknown): void {
    this.#log.error({ event: 'drain-failed', error })
    process.exit(1)
  }
}
