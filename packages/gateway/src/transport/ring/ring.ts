// io_uring: entries that the kernel takes at `enter`, and the completions it gives back there. With SINGLE_ISSUER and DEFER_TASKRUN
// it touches the ring's memory only within that call, so plain loads and stores will do.
//
// `user_data` is where an operation comes from: its owner's slot, which of the owner's operations it is, and the slot's generation, so
// that no completion reaches an owner that is not its own. An owner keeps its slot until its last completion, so a completion of an
// earlier generation is an error in this program; it is dropped and counted.

import { mapMemory, mapShared, type Mapping, unmap } from './memory.ts'
import { errorNumber, EINTR, systemCall } from './system.ts'

const IO_URING_SETUP = 425
const IO_URING_ENTER = 426
const IO_URING_REGISTER = 427

const SETUP_CQSIZE = 1 << 3
const SETUP_SUBMIT_ALL = 1 << 7
const SETUP_TASKRUN_FLAG = 1 << 9
const SETUP_SINGLE_ISSUER = 1 << 12
const SETUP_DEFER_TASKRUN = 1 << 13
/** In the flags that the kernel sets: a completion may be had by the next `enter`. */
const SQ_TASKRUN = 1 << 2
/** And there: completions wait for room, and nobody knows of which operations they are. */
const SQ_CQ_OVERFLOW = 1 << 1
const ENTER_GETEVENTS = 1
const ENTER_EXT_ARG = 1 << 3
const REGISTER_PROBE = 8
const REGISTER_PBUF_RING = 22
const REGISTER_SYNC_CANCEL = 24
/** In an operation's entry of the probe. */
const IS_SUPPORTED = 1 << 16
/** Where the argument of `register` is in the arguments' memory, in bytes; that of `enter` is before it. */
const REGISTERED_AT = 1024
const OFF_SQES = 0x1000_0000

/** Operations of io_uring that are used. */
export const OPCODE = {
  POLL_ADD: 6,
  SENDMSG: 9,
  ASYNC_CANCEL: 14,
  CLOSE: 19,
  SEND: 26,
  RECV: 27,
} as const

/** Flags of an entry, in the byte behind the opcode. */
export const ENTRY_BUFFER_SELECT = 0x20
export const ENTRY_SKIP_SUCCESS = 0x40
/** Flags of a completion. */
export const COMPLETION_BUFFER = 1
export const COMPLETION_MORE = 2
/** Where a completion's flags have the number of its buffer. */
export const COMPLETION_BUFFER_SHIFT = 16

// struct io_uring_params, in 32-bit words.
const PARAMS_WORDS = 30
const PARAMS_CQ_ENTRIES = 1
const PARAMS_FLAGS = 2
const PARAMS_SQ_OFFSETS = 10
const PARAMS_CQ_OFFSETS = 20

const ENTRY_WORDS = 16
const COMPLETION_WORDS = 4
/** Words of an entry that its users write themselves. */
export const ENTRY_LENGTH = 6
export const ENTRY_OPERATION_FLAGS = 7
export const ENTRY_BUFFER_GROUP = 10

const WORD_VALUES = 2 ** 32
const OPERATION_BITS = 3
const OPERATION_MASK = (1 << OPERATION_BITS) - 1

/** Whoever has operations under way. */
export interface Owner {
  /**
   * @param operation the number that it gave its operation
   * @param result as the system call would give it; an error as a negative number
   */
  completed(operation: number, result: number, flags: number): void
}

/** The system's error number with which a ring could not be made. */
export class RingError extends Error {
  readonly errno: number
  constructor(call: string, errno: number) {
    super(`${call}: error ${errno}`)
    this.errno = errno
  }
}

/** See the head of this file. */
export class Ring {
  readonly #fd: number
  readonly #rings: Mapping
  readonly #entries: Mapping
  /** Timespec, arguments of `enter`, and arguments of `register`. */
  readonly #arguments: Mapping
  readonly #words: Int32Array
  readonly #entryCount: number
  readonly #submissionHead: number
  readonly #submissionTail: number
  readonly #submissionFlags: number
  readonly #completionHead: number
  readonly #completionTail: number
  readonly #completionMask: number
  readonly #completions: number
  #tail = 0
  #head = 0

  readonly #owners: (Owner | null)[] = []
  readonly #generations: number[] = []
  readonly #freeSlots: number[] = []
  /** By slot: a bit for each operation whose completion is there and not told. */
  readonly #waiting: number[] = []
  /** Completions before this one are noted there. */
  #noted = 0
  /** Completions that were nobody's; more than 0 is an error in this program. */
  strayCount = 0

  /**
   * Throws `RingError`.
   * @param entries how many entries are taken at once, a power of 2
   * @param completions how many completions wait without being copied, a power of 2
   */
  constructor(entries: number, completions: number) {
    this.#arguments = mapMemory(4096)
    const params = this.#arguments.words
    params[PARAMS_CQ_ENTRIES] = completions
    params[PARAMS_FLAGS] =
      SETUP_CQSIZE | SETUP_SUBMIT_ALL | SETUP_TASKRUN_FLAG | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN
    this.#fd = systemCall(IO_URING_SETUP, entries, this.#arguments.address, 0, 0, 0, 0)
    if (this.#fd === -1) throw new RingError('io_uring_setup', errorNumber())
    const [head = 0, tail = 0, , , flags = 0, , array = 0] = params.subarray(PARAMS_SQ_OFFSETS)
    const [cqHead = 0, cqTail = 0, cqMask = 0, , , cqes = 0] = params.subarray(PARAMS_CQ_OFFSETS)
    const bytes = Math.max(array + entries * 4, cqes + completions * COMPLETION_WORDS * 4)
    this.#rings = mapShared(bytes, this.#fd, 0)
    this.#entries = mapShared(entries * ENTRY_WORDS * 4, this.#fd, OFF_SQES)
    this.#words = this.#rings.words
    this.#entryCount = entries
    this.#submissionHead = head / 4
    this.#submissionTail = tail / 4
    this.#submissionFlags = flags / 4
    this.#completionHead = cqHead / 4
    this.#completionTail = cqTail / 4
    this.#completions = cqes / 4
    this.#completionMask = this.#words[cqMask / 4] ?? 0
    for (let index = 0; index < entries; index++) this.#words[array / 4 + index] = index
    params.fill(0, 0, PARAMS_WORDS)
  }

  /** Ends the ring, and what is under way. */
  close(closeDescriptor: (fd: number) => void): void {
    closeDescriptor(this.#fd)
    unmap(this.#rings)
    unmap(this.#entries)
    unmap(this.#arguments)
  }

  // ── owners ──

  /** A slot for `owner`, which it keeps until the last of its operations is completed. */
  claim(owner: Owner): number {
    const slot = this.#freeSlots.pop() ?? this.#owners.length
    this.#owners[slot] = owner
    this.#waiting[slot] = 0
    this.#generations[slot] = ((this.#generations[slot] ?? 0) + 1) | 0
    return slot
  }

  release(slot: number): void {
    this.#owners[slot] = null
    this.#freeSlots.push(slot)
  }

  // ── entries ──

  /** Words of the entries: `add` says where one is. */
  get entries(): Int32Array {
    return this.#entries.words
  }

  /**
   * Adds an entry, which the kernel takes at the next `enter`.
   * @param code opcode, with the entry's flags above it
   * @returns where its words are, for what else it needs
   */
  add(code: number, fd: number, slot: number, operation: number, address: number, length: number): number {
    const words = this.#entries.words
    while (this.#waitingEntries() === this.#entryCount) this.enter(0)
    const at = (this.#tail & (this.#entryCount - 1)) * ENTRY_WORDS
    this.#tail = (this.#tail + 1) | 0
    words[at] = code
    words[at + 1] = fd
    words[at + 2] = 0
    words[at + 3] = 0
    words[at + 4] = address
    words[at + 5] = address / WORD_VALUES
    words[at + ENTRY_LENGTH] = length
    words[at + ENTRY_OPERATION_FLAGS] = 0
    words[at + 8] = (slot << OPERATION_BITS) | operation
    words[at + 9] = this.#generations[slot] ?? 0
    words[at + 10] = 0
    words[at + 11] = 0
    return at
  }

  /** How many entries the kernel has not taken. */
  #waitingEntries(): number {
    return (this.#tail - (this.#words[this.#submissionHead] ?? 0)) | 0
  }

  /** Whether there are entries that the kernel has not taken. */
  get hasEntries(): boolean {
    return this.#waitingEntries() > 0
  }

  /** Names the entry that was added last, for `hasTaken`. */
  get ticket(): number {
    return this.#tail
  }

  /** Whether the kernel has taken the entry of this ticket. */
  hasTaken(ticket: number): boolean {
    return (((this.#words[this.#submissionHead] ?? 0) - ticket) | 0) >= 0
  }

  /** Whether something has happened to what the kernel has taken, as far as it is not completed: seen without a call. */
  get hasNews(): boolean {
    return ((this.#words[this.#submissionFlags] ?? 0) & (SQ_TASKRUN | SQ_CQ_OVERFLOW)) !== 0
  }

  /** Whether completions wait for room: then `isWaiting` does not know of all. It is over when those that are there were told. */
  get isOverfull(): boolean {
    return ((this.#words[this.#submissionFlags] ?? 0) & SQ_CQ_OVERFLOW) !== 0
  }

  /** Cancels an operation. It is completed in any case, as cancelled when it could be; this is too, as `operation`. */
  addCancel(slot: number, cancelled: number, operation: number): void {
    const at = this.add(OPCODE.ASYNC_CANCEL, -1, slot, operation, 0, 0)
    this.entries[at + 4] = (slot << OPERATION_BITS) | cancelled
    this.entries[at + 5] = this.#generations[slot] ?? 0
  }

  /** Gives the kernel what was added. @param waitMs how long to wait for a completion; -1 as long as it takes */
  enter(waitMs: number): void {
    const count = this.#waitingEntries()
    this.#words[this.#submissionTail] = this.#tail
    const { address, words } = this.#arguments
    if (waitMs > 0) {
      words[0] = waitMs / 1000
      words[2] = (waitMs % 1000) * 1_000_000
      words[8] = address
      words[9] = address / WORD_VALUES
      systemCall(IO_URING_ENTER, this.#fd, count, 1, ENTER_GETEVENTS | ENTER_EXT_ARG, address + 16, 24)
    } else systemCall(IO_URING_ENTER, this.#fd, count, waitMs === 0 ? 0 : 1, ENTER_GETEVENTS, 0, 0)
    // An error is the time that is over, a signal (EINTR), or memory that is short for now: what was not taken is given again.
    this.#note()
  }

  // ── completions ──

  /** Notes what is completed by now, so that `isWaiting` need not look for it. */
  #note(): void {
    const words = this.#words
    const tail = words[this.#completionTail] ?? 0
    for (let at = this.#noted; at !== tail; at = (at + 1) | 0) {
      const origin = words[this.#completions + (at & this.#completionMask) * COMPLETION_WORDS] ?? 0
      const slot = origin >>> OPERATION_BITS
      this.#waiting[slot] = (this.#waiting[slot] ?? 0) | (1 << (origin & OPERATION_MASK))
    }
    this.#noted = tail
  }

  /** Tells the owners of what is completed. What an owner throws is passed on; the rest is told by the next call. */
  tell(): void {
    const words = this.#words
    for (;;) {
      const head = this.#head
      if (head === words[this.#completionTail]) return
      const at = this.#completions + (head & this.#completionMask) * COMPLETION_WORDS
      const origin = words[at] ?? 0
      const generation = words[at + 1] ?? 0
      const result = words[at + 2] ?? 0
      const flags = words[at + 3] ?? 0
      this.#head = (head + 1) | 0
      words[this.#completionHead] = this.#head
      const slot = origin >>> OPERATION_BITS
      this.#waiting[slot] = (this.#waiting[slot] ?? 0) & ~(1 << (origin & OPERATION_MASK))
      const owner = this.#owners[slot] ?? null
      if (owner === null || this.#generations[slot] !== generation) this.strayCount++
      else owner.completed(origin & OPERATION_MASK, result, flags)
    }
  }

  /** Whether a completion of this operation waits to be told. */
  isWaiting(slot: number, operation: number): boolean {
    return ((this.#waiting[slot] ?? 0) & (1 << operation)) !== 0
  }

  // ── what is registered ──

  /** Cancels an operation that the kernel has, now: it is completed as cancelled. @returns false when it is completed already */
  cancelNow(slot: number, operation: number): boolean {
    const words = this.#registered
    // struct io_uring_sync_cancel_reg
    words[0] = (slot << OPERATION_BITS) | operation
    words[1] = this.#generations[slot] ?? 0
    words.fill(-1, 2, 3) // by user_data, not by descriptor
    words.fill(-1, 4, 8) // no time limit
    const isCancelled = this.#register(REGISTER_SYNC_CANCEL, 1) === 0
    this.#note()
    return isCancelled
  }

  /** Lets the kernel take buffers from a ring at `address`. @returns 0, or the system's error number */
  registerBuffers(address: number, count: number, group: number): number {
    const words = this.#registered
    // struct io_uring_buf_reg
    words[0] = address
    words[1] = address / WORD_VALUES
    words[2] = count
    words[3] = group
    return this.#register(REGISTER_PBUF_RING, 1)
  }

  /** Those of `opcodes` that the kernel does not have. */
  missing(opcodes: readonly number[]): number[] {
    const words = this.#registered
    const errno = this.#register(REGISTER_PROBE, 256)
    // struct io_uring_probe: 4 words, and 2 for each operation, of which the upper half of the first says whether it is supported.
    return errno === 0 ? opcodes.filter((code) => ((words[4 + code * 2] ?? 0) & IS_SUPPORTED) === 0) : [...opcodes]
  }

  /** The argument of `register`, empty. */
  get #registered(): Int32Array {
    return this.#arguments.words.subarray(REGISTERED_AT / 4).fill(0)
  }

  /** @returns 0, or the system's error number */
  #register(operation: number, count: number): number {
    for (;;) {
      const { address } = this.#arguments
      const result = systemCall(IO_URING_REGISTER, this.#fd, operation, address + REGISTERED_AT, count, 0, 0)
      if (result !== -1) return 0
      const errno = errorNumber()
      if (errno !== EINTR) return errno
    }
  }
}
