// What two primaries say to each other while one takes the place of the other, over the IPC channel that Node.js makes with a process.
//
//   the earlier one                       the later one
//   inherit                           →                the passage among the sockets
//                                     ←   joined         from now on it may know sessions
//                                     ←   serving, or failed
//   main                              →                to the service manager, that one is the daemon now
//   given                             →                connections on which nothing is asked, which are there to be taken
//   ended                             ↔   ended        sessions, of which no worker of the other may admit any more
//   confirmed                         ↔   confirmed
//                                     ←   count
//   counted                           →                what the earlier one has counted so far, and has now; the last time of its own accord
//                                     ←   asked          a question to workers
//   told                              →                what those of the earlier one say, and of those before it
//
// They are of different versions: what one does not know of the other it passes over.

import type { Question, Told } from './control/questions.ts'
import type { HeldSocket } from './sockets.ts'

/** A series' key, and its values. */
export type Counted = readonly (readonly [key: string, values: readonly number[]])[]

/** See the head of this file. */
export type Said =
  /** `ownHost`: xapi's reference of this host; absent from an earlier version, null where it is not known. */
  | {
      readonly type: 'inherit'
      readonly sockets: readonly HeldSocket[]
      readonly returnKey: string
      readonly ownHost?: string | null
    }
  | { readonly type: 'joined' }
  /** `takes`: names of listeners whose idle connections it takes. `takesUnderWay`: and channels and tunnels; absent where it does not. */
  | {
      readonly type: 'serving'
      readonly version: string
      readonly takes: readonly string[]
      readonly takesUnderWay?: boolean
    }
  | { readonly type: 'given'; readonly count: number }
  /** To the service manager the other one is the daemon now. */
  | { readonly type: 'main' }
  | { readonly type: 'failed'; readonly problem: string }
  | { readonly type: 'ended'; readonly ending: number; readonly uuids: readonly string[] }
  | { readonly type: 'confirmed'; readonly ending: number }
  | { readonly type: 'count'; readonly question: number }
  | { readonly type: 'counted'; readonly question: number; readonly counted: Counted }
  | { readonly type: 'asked'; readonly question: number; readonly asked: Question }
  | { readonly type: 'told'; readonly question: number; readonly told: readonly Told[keyof Told][] }

/** The part used of a child process, and of this one. */
export interface Channel {
  readonly connected: boolean
  readonly pid?: number | undefined
  readonly channel?: { ref(): void } | null | undefined
  send?(message: Said, sent: (error: Error | null) => void): boolean
  on(name: 'message', listener: (message: Said) => void): unknown
  once(name: 'disconnect', listener: () => void): unknown
}

/** Who hears what the other one says of itself. */
export interface LinkListener {
  /** These sessions have ended. Resolves when no worker here admits them. */
  readonly ended: (uuids: readonly string[]) => Promise<void>
  readonly count: () => Promise<Counted>
  readonly asked: (question: Question) => Promise<readonly Told[keyof Told][]>
  readonly said: (message: Said) => void
  readonly gone: () => void
}

/** Beyond it one that does not confirm the end of sessions is ended: its workers may still admit them, and go with it. */
const CONFIRM_TIMEOUT_MS = 5000
/** How long what it has counted, or what its workers say, is waited for: a little longer than it waits for these. */
const ANSWER_TIMEOUT_MS = 3000

/** See the head of this file. */
export class Link {
  readonly #channel: Channel
  readonly #pid: number
  readonly #listener: LinkListener
  #number = 0
  /** By number: what is to be confirmed, or answered. */
  readonly #waiting = new Map<number, (answer: unknown) => void>()
  readonly #end = Promise.withResolvers<void>()

  /** @param pid of the other process */
  constructor(channel: Channel, pid: number, listener: LinkListener) {
    this.#channel = channel
    this.#pid = pid
    this.#listener = listener
    channel.on('message', (message) => this.#heard(message))
    channel.once('disconnect', () => this.#gone())
  }

  /** Of the other process. */
  get pid(): number {
    return this.#pid
  }

  /** Resolves when the other one is gone; this process lives until then. */
  gone(): Promise<void> {
    this.#channel.channel?.ref()
    return this.#end.promise
  }

  tell(message: Said): void {
    // An error means that the other one is gone, which is told as well.
    if (this.#channel.connected) this.#channel.send?.(message, () => {})
  }

  /** Sessions have ended here. Resolves when no worker of the other one admits them. */
  async ended(uuids: readonly string[]): Promise<void> {
    const ending = this.#number++
    await this.#answer(ending, { type: 'ended', ending, uuids }, CONFIRM_TIMEOUT_MS, () => this.#kill())
  }

  #kill(): void {
    try {
      process.kill(this.#pid, 'SIGKILL')
    } catch {
      // It is gone, which is not heard yet where this process stood still.
    }
  }

  /** What the other one has counted; null when it does not say. */
  async counted(): Promise<Counted | null> {
    const question = this.#number++
    return this.#answer<Counted>(question, { type: 'count', question }, ANSWER_TIMEOUT_MS, () => {})
  }

  /** What workers of the other one say, and of those before it; nothing when it does not say. */
  async ask<Kind extends keyof Told>(asked: Question<Kind>): Promise<readonly Told[Kind][]> {
    const question = this.#number++
    const message: Said = { type: 'asked', question, asked }
    return (await this.#answer<readonly Told[Kind][]>(question, message, ANSWER_TIMEOUT_MS, () => {})) ?? []
  }

  /** Resolves with what is answered; null when the other one is gone, or silent for so long. */
  #answer<Answer>(number: number, message: Said, ms: number, silent: () => void): Promise<Answer | null> {
    if (!this.#channel.connected) return Promise.resolve(null)
    const { promise, resolve } = Promise.withResolvers<Answer | null>()
    const timer = setTimeout(() => {
      silent()
      this.#waiting.get(number)?.(null)
    }, ms)
    this.#waiting.set(number, (answer) => {
      clearTimeout(timer)
      this.#waiting.delete(number)
      resolve(answer as Answer | null)
    })
    this.tell(message)
    return promise
  }

  #heard(message: Said): void {
    switch (message.type) {
      case 'ended':
        void this.#listener.ended(message.uuids).then(() => this.tell({ type: 'confirmed', ending: message.ending }))
        break
      case 'confirmed':
        this.#waiting.get(message.ending)?.([])
        break
      case 'count':
        void this.#listener.count().then((counted) => {
          this.tell({ type: 'counted', question: message.question, counted })
        })
        break
      case 'asked':
        void this.#listener.asked(message.asked).then((told) => {
          this.tell({ type: 'told', question: message.question, told })
        })
        break
      case 'told':
        this.#waiting.get(message.question)?.(message.told)
        break
      case 'counted':
        this.#waiting.get(message.question)?.(message.counted)
        this.#listener.said(message)
        break
      default:
        this.#listener.said(message)
    }
  }

  #gone(): void {
    for (const answer of this.#waiting.values()) answer(null)
    this.#listener.gone()
    this.#end.resolve()
  }
}
