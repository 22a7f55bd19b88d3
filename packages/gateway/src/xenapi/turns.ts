// Turns in which calls are read: whoever has no session may send one, and reading one may take milliseconds of the thread that
// also answers about sessions, hears of endings and says that it is alive.
//
// In one turn of the event loop little is read, and then everything else is done first. Addresses take turns, so that one with
// many calls keeps others waiting for one of them at most. What its answers have cost it owes, and gives up turns for, so that dear
// answers take turns as dear calls do. What waits is bounded by what it costs; when there is no room, the
// address that has most waiting gives up its dearest call, the last of these: a login is short, and so has room where others at
// its address send what is not.

import { addressKey } from '../sessions/address-key.ts'

/** What may wait, in bytes of bodies: at 0.15 µs a byte, the dearest that was found, 0.15 s of work. At most 2048 calls. */
const WAITING_COST_MAX = 1_048_576
/** What a call costs beside its bytes. */
const CALL_COST = 512
/** What is read in one turn of the event loop, by one call or more: about a millisecond. */
const TURN_COST = 8192
/** Bytes of an answer that cost as much as one of a call: writing was measured at a tenth of reading. */
const ANSWER_BYTES = 8

interface Waiting {
  readonly cost: number
  readonly run: () => void
  readonly refuse: () => void
}

/** Calls of one address. */
interface Line {
  readonly calls: Waiting[]
  cost: number
  /** What its answers have cost. */
  owed: number
}

/** There is no room for the call. */
export class BusyError extends Error {
  override readonly name = 'BusyError'
}

/** See the head of this file. */
export class Turns {
  /** Lines with calls, or that owe; the first is next. */
  readonly #lines = new Map<string, Line>()
  #cost = 0
  #isScheduled = false

  /**
   * Does `work` when it is the address's turn.
   *
   * @param address the client's; empty when nobody can tell
   * @throws {BusyError} when there is no room, now or later while it waits.
   */
  take<T>(address: string, bytes: number, work: () => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const run = (): void => {
      try {
        resolve(work())
      } catch (error) {
        reject(error)
      }
    }
    const refuse = (): void => reject(new BusyError('read call: too many wait'))
    this.#enter(addressKey(address) ?? '', { cost: bytes + CALL_COST, run, refuse })
    return promise
  }

  /** A call of the address was answered with so many bytes. */
  charge(address: string, answerBytes: number): void {
    const owed = answerBytes / ANSWER_BYTES - CALL_COST
    if (owed <= 0) return
    this.#lineOf(addressKey(address) ?? '').owed += owed
    this.#schedule()
  }

  #lineOf(key: string): Line {
    const line = this.#lines.get(key) ?? { calls: [], cost: 0, owed: 0 }
    this.#lines.set(key, line)
    return line
  }

  #enter(key: string, call: Waiting): void {
    const line = this.#lineOf(key)
    line.calls.push(call)
    line.cost += call.cost
    this.#cost += call.cost
    while (this.#cost > WAITING_COST_MAX) this.#dropDearest()
    this.#schedule()
  }

  #dropDearest(): void {
    const [key, line] = [...this.#lines].reduce((longest, entry) => (entry[1].cost > longest[1].cost ? entry : longest))
    const call = line.calls.reduce((dearest, one) => (one.cost >= dearest.cost ? one : dearest))
    line.calls.splice(line.calls.indexOf(call), 1)
    this.#took(key, line, call)
    call.refuse()
  }

  #took(key: string, line: Line, call: Waiting): void {
    line.cost -= call.cost
    this.#cost -= call.cost
    if (line.calls.length === 0 && line.owed === 0) this.#lines.delete(key)
  }

  #schedule(): void {
    if (this.#isScheduled || this.#lines.size === 0) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      this.#turn()
      this.#schedule()
    })
  }

  /** One call of each address at most: what the first one's answer costs is known before the next. */
  #turn(): void {
    let left = TURN_COST
    for (let lines = this.#lines.size; lines > 0 && left > 0; lines--) {
      const [entry] = this.#lines
      if (entry === undefined) return
      const [key, line] = entry
      // To the end of the line of lines.
      this.#lines.delete(key)
      this.#lines.set(key, line)
      left -= line.owed > 0 ? this.#pay(key, line) : this.#runFirst(key, line)
    }
  }

  /** @returns nothing: the work was done before */
  #pay(key: string, line: Line): number {
    line.owed = Math.max(0, line.owed - TURN_COST)
    if (line.owed === 0 && line.calls.length === 0) this.#lines.delete(key)
    return 0
  }

  /** @returns what it cost */
  #runFirst(key: string, line: Line): number {
    const call = line.calls.shift()
    if (call === undefined) return 0
    this.#took(key, line, call)
    call.run()
    return call.cost
  }
}
