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
  #isClosed = false

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

  /** @param closed told that no more events come */
  listen(sink: EventSink, closed: () => void): EventListener {
    const listener = new EventListener(sink, closed, () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#onWatched(false)
    })
    this.#listeners.add(listener)
    if (this.#listeners.size === 1) this.#onWatched(true)
    if (this.#isClosed) listener.close()
    return listener
  }

  /** No more events come: whoever listens would be waited for. */
  close(): void {
    this.#isClosed = true
    for (const listener of this.#listeners) listener.close()
  }
}

/** Somebody who listens. */
export class EventListener {
  readonly #sink: EventSink
  readonly #closed: () => void
  readonly #onEnd: () => void
  #isOver = false
  #waiting: string[] = []
  #isFull = false
  #lost = 0

  constructor(sink: EventSink, closed: () => void, onEnd: () => void) {
    this.#closed = closed
    this.#sink = sink
    this.#onEnd = onEnd
  }

  add(line: string): void {
    if (this.#isOver) return
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

  /** No more events come. */
  close(): void {
    this.end()
    this.#closed()
  }

  /** Whoever has listened is gone. May be called again. */
  end(): void {
    this.#isOver = true
    this.#onEnd()
  }
}
