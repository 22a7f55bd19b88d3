// The loop that the ring turns in, with libuv's inside. It runs in libuv's check phase, as an immediate, and stays there as long as
// libuv has nothing to do: the ring watches libuv's descriptor, and libuv says how long its next timer is away.
//
// A turn: what was put off, with promises and ticks; what is to be read and sent, which becomes entries of the ring; one call, which
// takes them and waits; what is completed. When libuv has something to do, the loop lets it have one round that does not wait.
// While nothing is open it does not run, and nothing is left that would keep the process alive.

import { performance } from 'node:perf_hooks'
import { closeDescriptor } from '@xengate/channel'
import { ReadBuffers } from './buffers.ts'
import { mapMemory } from './memory.ts'
import { ENTRY_OPERATION_FLAGS, ENTRY_SKIP_SUCCESS, OPCODE, type Owner, Ring } from './ring.ts'
import { findUv, type Uv } from './system.ts'

const ENTRIES = 1024
const COMPLETIONS = 4096
const POLLIN = 1
/** Operations of the loop's own. */
const POLL = 0
const CLOSE = 1
/** Longest that a timer of Node.js can be: it keeps libuv's loop alive, as an open socket of libuv's would. */
const FOREVER_MS = 2 ** 31 - 1

/** Whatever adds entries of its own at the end of a turn. */
export interface Touched {
  /** Adds what it has to the ring. It calls nobody. */
  submit(): void
}

/** Whatever has to know what has come before it adds an entry. */
export interface Looking {
  /** Adds it, after the others. */
  submitLate(): void
}

/** The part of `process` that runs ticks and promises between two callbacks of Node.js's own. It is not documented. */
interface Ticking {
  readonly _tickCallback?: () => void
}

/** See the head of this file. */
export class Loop implements Owner {
  readonly ring: Ring
  readonly buffers: ReadBuffers
  readonly #uv: Uv
  readonly #idle: number
  readonly #slot: number
  readonly #tick = (process as unknown as Ticking)._tickCallback
  /** Whether ticks and promises can be run here; null before that was tried. Else each turn ends in libuv's round, which runs them. */
  #canTick: boolean | null = null
  #openCount = 0
  #isStarted = false
  #keepAlive: NodeJS.Timeout | null = null
  #isPolled = false
  #isUvReady = false
  /** When libuv was told the time, by `performance.now`. */
  #toldMs = 0
  readonly #touched: (Touched | null)[] = []
  #touchedCount = 0
  readonly #looking: Looking[] = []
  #tasks: (() => void)[] = []
  /** Of the call that is to come, or whose completions are told now. */
  turn = 0

  /** Throws `RingError` when there can be no ring. */
  constructor(uv: Uv) {
    this.#uv = uv
    this.ring = new Ring(ENTRIES, COMPLETIONS)
    this.buffers = new ReadBuffers(this.ring)
    this.#idle = mapMemory(uv.idleBytes).address
    uv.idleInit(uv.loop, this.#idle)
    this.#slot = this.ring.claim(this)
  }

  /** Something is open that the loop is to run for. */
  opened(): void {
    this.#openCount++
    this.#start()
  }

  /** The same is open no more. */
  closed(): void {
    this.#openCount--
  }

  /** Has `touched` add its entries at the end of this turn; to be called once before that. */
  touch(touched: Touched): void {
    this.#touched[this.#touchedCount++] = touched
  }

  /** The same after all others, when what they want to read is armed: called within `submit`. */
  lookFirst(looking: Looking): void {
    this.#looking.push(looking)
  }

  /** Calls `task` before the end of this turn, but not within this call. */
  defer(task: () => void): void {
    this.#tasks.push(task)
  }

  #start(): void {
    if (this.#isStarted) return
    this.#isStarted = true
    this.#keepAlive ??= setInterval(() => {}, FOREVER_MS)
    this.#yield()
  }

  /** Lets libuv have a round that does not wait; an immediate that keeps the loop alive would do that while it runs, too. */
  #yield(): void {
    this.#uv.idleStart(this.#idle, this.#uv.nothing)
    setImmediate(this.#run).unref()
  }

  #rest(): void {
    this.#isStarted = false
    if (this.#keepAlive !== null) clearInterval(this.#keepAlive)
    this.#keepAlive = null
  }

  readonly #run = (): void => {
    this.#uv.idleStop(this.#idle)
    let isOpen = true
    try {
      do isOpen = this.#isNeeded
      while (isOpen && this.#turn())
    } finally {
      // An error that a listener throws goes the way of every uncaught one; the loop goes on.
      if (isOpen) this.#yield()
      else this.#rest()
    }
  }

  get #isNeeded(): boolean {
    return this.#openCount > 0 || this.#tasks.length > 0 || this.#touchedCount > 0 || this.ring.hasEntries
  }

  /** @returns whether another may follow at once */
  #turn(): boolean {
    this.#runTasks()
    this.#submit()
    const isResting = this.#openCount === 0
    const waitMs = isResting ? 0 : this.#uvTimeout()
    this.ring.enter(waitMs)
    try {
      this.ring.tell()
    } finally {
      this.turn++
    }
    const isUvDue = waitMs === 0 || this.#isUvReady || this.#canTick !== true
    this.#isUvReady = false
    return isResting || !isUvDue
  }

  /** How long libuv can do without us, in milliseconds. */
  #uvTimeout(): number {
    const { loop, updateTime, backendFd, backendTimeout } = this.#uv
    if (!this.#isPolled) {
      this.#isPolled = true
      const at = this.ring.add(OPCODE.POLL_ADD, backendFd(loop), this.#slot, POLL, 0, 0)
      this.ring.entries[at + ENTRY_OPERATION_FLAGS] = POLLIN
    }
    // Its clock stands still between its own rounds, and goes by milliseconds.
    const nowMs = performance.now()
    if (nowMs - this.#toldMs >= 1) {
      this.#toldMs = nowMs
      updateTime(loop)
    }
    return backendTimeout(loop)
  }

  /** Closes a descriptor, with the next call. */
  close(fd: number): void {
    this.ring.add(OPCODE.CLOSE | (ENTRY_SKIP_SUCCESS << 8), fd, this.#slot, CLOSE, 0, 0)
  }

  /** Libuv's descriptor is ready: the poll is for one time, and armed again after libuv's round. */
  completed(operation: number): void {
    if (operation !== POLL) return
    this.#isPolled = false
    this.#isUvReady = true
  }

  #runTasks(): void {
    do {
      if (this.#tasks.length > 0) this.#runThese()
      this.#runTicks()
    } while (this.#tasks.length > 0)
  }

  #runThese(): void {
    const tasks = this.#tasks
    this.#tasks = []
    try {
      for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) task()
    } finally {
      if (tasks.length > 0) this.#tasks = [...tasks, ...this.#tasks]
    }
  }

  #runTicks(): void {
    if (this.#canTick === true) this.#tick?.()
    else if (this.#canTick === null) this.#tryTicks()
  }

  #tryTicks(): void {
    let count = 0
    queueMicrotask(() => count++)
    process.nextTick(() => count++)
    this.#canTick = false
    this.#tick?.()
    this.#canTick = count === 2
  }

  #submit(): void {
    // An array that is made empty by its length goes the long way through the runtime.
    for (let index = 0; index < this.#touchedCount; index++) {
      this.#touched[index]?.submit()
      this.#touched[index] = null
    }
    this.#touchedCount = 0
    if (this.#looking.length > 0) this.#submitLate()
  }

  /** One call finds out for all of them; for one alone, a look at its connection is cheaper. */
  #submitLate(): void {
    if (this.#looking.length > 1) this.ring.enter(0)
    for (let looking = this.#looking.pop(); looking !== undefined; looking = this.#looking.pop()) looking.submitLate()
  }
}

let loop: Loop | null = null

/** The loop of this process, which is made when it is first asked for. Throws when there can be none: see probe.ts. */
export function theLoop(): Loop {
  if (loop !== null) return loop
  const uv = findUv()
  if (uv === null) throw new Error('libuv is not to be found in this process')
  loop = new Loop(uv)
  return loop
}

/** Completions that were nobody's, in this process; more than 0 is an error in this program. */
export function strayCompletions(): number {
  return loop?.ring.strayCount ?? 0
}

/** Ends a ring that was made to try it. */
export function closeRing(ring: Ring): void {
  ring.close(closeDescriptor)
}
