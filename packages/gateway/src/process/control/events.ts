// The log's events as they come, for who listens: those of the primary, and while somebody listens those of workers.

/** Events that wait for one listener; beyond it it has lost some, and is told how many. */
const WAITING_MAX = 1000

/** Takes events, each a line of JSON without its line break. @returns whether more can be taken now */
export type EventSink = (line: string) => boolean

/** Tells of events that were too many to be told. */
export function eventsLost(lines: number): string {
  return JSON.stringify({ level: 'warn', time: new Date().toISOString(), event: 'events-lost', lines })
}

/** See the head of this file. */
export class EventHub {
  readonly #listeners = new Set<EventListener>()
  readonly #onWatched: (isWatched: boolean) => void

  /** @param onWatched told when the first begins to listen, and when the last has ended */
  constructor(onWatched: (isWatched: boolean) => void) {
    this.#onWatched = onWatched
  }

  get isWatched(): boolean {
    return this.#listeners.size > 0
  }

  /** Something was logged. @param line as the log writes JSON */
  publish(line: string): void {
    const event = line.trimEnd()
    for (const listener of this.#listeners) listener.add(event)
  }

  listen(sink: EventSink): EventListener {
    const listener = new EventListener(sink, () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#onWatched(false)
    })
    this.#listeners.add(listener)
    if (this.#listeners.size === 1) this.#onWatched(true)
    return listener
  }
}

/** Somebody who listens. */
export class EventListener {
  readonly #sink: EventSink
  readonly #onEnd: () => void
  #waiting: string[] = []
  #isFull = false
  #lost = 0

  constructor(sink: EventSink, onEnd: () => void) {
    this.#sink = sink
    this.#onEnd = onEnd
  }

  add(line: string): void {
    if (!this.#isFull) this.#isFull = !this.#sink(line)
    else if (this.#waiting.length < WAITING_MAX) this.#waiting.push(line)
    else this.#lost++
  }

  /** The sink can take more. */
  drained(): void {
    this.#isFull = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const line of waiting) this.add(line)
    if (this.#isFull || this.#lost === 0) return
    const lost = this.#lost
    this.#lost = 0
    this.add(eventsLost(lost))
  }

  end(): void {
    this.#onEnd()
  }
}
