// The daemon's one connection to Valkey, made again whenever it is lost. Commands, what the server pushes about keys that
// change, and published messages come over the same connection, so that none overtakes another and the loss of one is
// the loss of all.
//
//   connecting ── connected ──▶ restoring ── every consumer has caught up ──▶ current
//        ▲                          │ lost                                       │ lost, or silent for too long
//        └──────────────────────────┴────────────────────────────────────────────┘
//
// While it is current a heartbeat proves again and again that nothing was missed: `stalenessMs` is the time since the last proof.

import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { ValkeySettings } from './url.ts'
import { ErrorReply } from '@redis/client'
import { connectValkey, type ValkeyClient, ValkeyUnavailableError } from './connect.ts'

/** How often it is proved that nothing was missed, unless the options say otherwise. */
const HEARTBEAT_MS = 500
/** A heartbeat that is not answered in this time: the connection is given up. */
const HEARTBEAT_TIMEOUT_MS = 1500
const RECONNECT_FIRST_MS = 20
const RECONNECT_LAST_MS = 500

/** Errors that say that this is not, or not now, the server to work with. */
const WRONG_SERVER = /^(?:MOVED|ASK|READONLY|CLUSTERDOWN|MASTERDOWN|LOADING|TRYAGAIN)\b/

/** Who uses the link. */
export interface ValkeyConsumer {
  /** Channels whose messages it wants. */
  readonly channels: readonly string[]
  /** A connection is new: what was known before may be old. When it resolves, the consumer has caught up. */
  connected(): Promise<void>
  /** Keys that it read have changed since; null: all may have. */
  invalidated(keys: readonly string[] | null): void
  published(message: string): void
}

/** A Lua script; its hash is computed once. */
export class Script {
  readonly text: string
  readonly sha1: string

  constructor(text: string) {
    this.text = text
    this.sha1 = createHash('sha1').update(text).digest('hex')
  }
}

/** What a `ValkeyLink` is built from. */
export interface ValkeyLinkOptions {
  readonly config: ValkeySettings
  /** One of the pool's keys; in a Cluster it decides about the server. */
  readonly key: string
  /** How often it is proved that nothing was missed, in milliseconds. */
  readonly heartbeatMs?: number
  /** Told, once each, when the link is current (null) and when it is lost or cannot be had. */
  readonly noticed: (error: unknown) => void
  /** Told of each command that the server refuses. */
  readonly refused?: (error: ValkeyUnavailableError) => void
}

/** See the head of this file. */
export class ValkeyLink {
  readonly #options: ValkeyLinkOptions
  readonly #consumers: ValkeyConsumer[] = []
  readonly #closing = new AbortController()
  #client: ValkeyClient | null = null
  #keeping: Promise<void> | null = null
  #isCurrent = false
  /** Whether this connection, or the one before, has been current. */
  #hasBeenCurrent = false
  #isNoticedLost = false
  #provenMs: number | null = null
  /** How far the server's clock is ahead of this machine's monotonic one: that of the system can be set between two answers. */
  #aheadMs = 0
  #current = Promise.withResolvers<void>()

  constructor(options: ValkeyLinkOptions) {
    this.#options = options
  }

  /** How long news may not have arrived, in milliseconds; for ever before the first connection. */
  get stalenessMs(): number {
    // Workers are told in JSON, which has no infinity.
    return this.#provenMs === null ? Number.MAX_SAFE_INTEGER : performance.now() - this.#provenMs
  }

  /** The server's clock, in ms since 1970. */
  get serverNowMs(): number {
    return performance.now() + this.#aheadMs
  }

  /** Adds a consumer, before `start`. */
  add(consumer: ValkeyConsumer): void {
    this.#consumers.push(consumer)
  }

  /** Begins to connect, and goes on until `close`. */
  start(): void {
    this.#keeping ??= this.#keep()
  }

  /** Waits for the first connection. @throws {ValkeyUnavailableError} when there is none within `ms` */
  async whenCurrent(ms: number): Promise<void> {
    const late = pause(ms, 'late' as const, { signal: this.#closing.signal, ref: true })
    late.catch(() => {}) // closing
    if ((await Promise.race([this.#current.promise, late])) === 'late') {
      throw new ValkeyUnavailableError('connect to Valkey: there is no answer')
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#client?.destroy()
    await this.#keeping
  }

  /** Runs one command. @throws {ValkeyUnavailableError} also for an error that the server answers with */
  async run(command: string[]): Promise<unknown> {
    const client = this.#client
    if (client === null) throw new ValkeyUnavailableError(`run ${command[0]}: there is no connection`)
    try {
      return await client.sendCommand(command)
    } catch (cause) {
      const text = cause instanceof Error ? cause.message : String(cause)
      if (WRONG_SERVER.test(text)) client.destroy()
      // The server's words may quote arguments: only their first word is passed on.
      const error = new ValkeyUnavailableError(`run ${command[0]}: ${text.split(' ')[0]}`, { cause })
      if (cause instanceof ErrorReply && !text.startsWith('NOSCRIPT')) this.#options.refused?.(error)
      throw error
    }
  }

  /** Runs a script, and sends its text when the server does not have it. */
  async script(script: Script, keys: readonly string[], argv: readonly (string | number)[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...argv.map(String)]
    try {
      return await this.run(['EVALSHA', script.sha1, ...rest])
    } catch (error) {
      const isUnknown =
        error instanceof Error && error.cause instanceof Error && error.cause.message.startsWith('NOSCRIPT')
      if (!isUnknown) throw error
      return this.run(['EVAL', script.text, ...rest])
    }
  }

  async #keep(): Promise<void> {
    const { signal } = this.#closing
    let waitMs = RECONNECT_FIRST_MS
    while (!signal.aborted) {
      this.#hasBeenCurrent = false
      await this.#serve().catch((error: unknown) => this.#notice(error))
      waitMs = this.#hasBeenCurrent ? RECONNECT_FIRST_MS : Math.min(waitMs * 2, RECONNECT_LAST_MS)
      await pause(waitMs, undefined, { signal }).catch(() => {})
    }
  }

  /** Serves one connection until it is lost. @throws why it was */
  async #serve(): Promise<void> {
    const client = await connectValkey(this.#options.config, this.#options.key)
    const lost = Promise.withResolvers<never>()
    lost.promise.catch(() => {}) // looked at below
    client.on('error', lost.reject)
    client.on('end', () => lost.reject(new ValkeyUnavailableError('the connection to Valkey was closed')))
    client.on('invalidate', (key: unknown) => this.#invalidated(key))
    this.#client = client
    try {
      if (this.#closing.signal.aborted) return
      await Promise.race([Promise.all([this.#restore(client), this.#beat(client)]), lost.promise])
    } finally {
      this.#isCurrent = false
      this.#client = null
      client.destroy()
    }
  }

  async #restore(client: ValkeyClient): Promise<void> {
    for (const consumer of this.#consumers) {
      for (const channel of consumer.channels) {
        await client.subscribe(channel, (message: string) => consumer.published(message))
      }
    }
    await this.#heartbeat(client)
    for (const consumer of this.#consumers) await consumer.connected()
    this.#isCurrent = true
    this.#hasBeenCurrent = true
    await this.#heartbeat(client)
    this.#current.resolve()
    this.#notice(null)
  }

  /** Rejects when the server is silent. */
  async #beat(client: ValkeyClient): Promise<never> {
    for (;;) {
      const late = new AbortController()
      const timer = pause(HEARTBEAT_TIMEOUT_MS, undefined, { signal: late.signal }).then(() => {
        throw new ValkeyUnavailableError(`Valkey did not answer for ${HEARTBEAT_TIMEOUT_MS} ms`)
      })
      try {
        await Promise.race([this.#heartbeat(client), timer])
      } finally {
        timer.catch(() => {}) // aborted, or thrown already
        late.abort()
      }
      await pause(this.#options.heartbeatMs ?? HEARTBEAT_MS, undefined, { signal: this.#closing.signal })
    }
  }

  /** Everything that the server pushed before its answer has been taken when the answer has. */
  async #heartbeat(client: ValkeyClient): Promise<void> {
    const sentMs = performance.now()
    const isCurrent = this.#isCurrent
    const { kind } = this.#options.config.url
    const [time] = await Promise.all([
      client.sendCommand(['TIME']),
      kind === 'sentinel' ? this.#expectMaster(client) : undefined,
      // In a Cluster it fails when the slot has moved.
      kind === 'cluster' ? client.sendCommand(['EXISTS', this.#options.key]) : undefined,
    ])
    const [seconds, microseconds] = time as unknown as [string, string]
    this.#aheadMs = Number(seconds) * 1000 + Number(microseconds) / 1000 - performance.now()
    if (isCurrent) this.#provenMs = sentMs
  }

  async #expectMaster(client: ValkeyClient): Promise<void> {
    const role = (await client.sendCommand(['ROLE'])) as unknown as [string]
    if (role[0] !== 'master') throw new ValkeyUnavailableError('Valkey has become a replica')
  }

  /** @param key as the library gives it: bytes or a text, or null for all */
  #invalidated(key: unknown): void {
    const keys = key === null ? null : [Buffer.isBuffer(key) || typeof key === 'string' ? key.toString() : '']
    for (const consumer of this.#consumers) consumer.invalidated(keys)
  }

  #notice(error: unknown): void {
    const isLost = error !== null
    if (this.#closing.signal.aborted || (isLost && this.#isNoticedLost)) return
    this.#isNoticedLost = isLost
    this.#options.noticed(error)
  }
}
