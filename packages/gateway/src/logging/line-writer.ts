// Whole lines to a descriptor, gathered so that a line costs little: as bytes in one buffer, 0.3 µs with the write to a file.
//
// The daemon's processes share one standard output, often a pipe. The kernel keeps a write to a pipe in one piece up to
// PIPE_BUF, 4096 bytes on Linux, so every write there is whole lines and at most that long: lines of two processes never
// mix. A slow reader is not waited for: the writes are done on another thread. A file takes any write in one piece and never
// keeps a writer waiting: there the writes are longer, and done at once.

import { fstatSync, write, writeSync } from 'node:fs'

/** How long a line may wait in the buffer, in milliseconds. */
const FLUSH_MS = 100
/** After a write failed, as on a full disk, nothing is written for this long. */
const RETRY_MS = 1000
/** When a pipe that does not block is full, and how often that is tried at exit. */
const FULL_MS = 20
const FULL_TRIES_MAX = 25
const FILE_BYTES = 65_536
/** PIPE_BUF: what Linux writes to a pipe in one piece. */
const PIPE_BYTES = 4096
/** Bytes that may wait for a slow reader; past that, lines are dropped and counted. */
const WAITING_BYTES_MAX = 4_194_304
/** Most bytes of a character of a string's length in UTF-8. */
const UTF8_BYTES_MAX = 3

interface Chunk {
  readonly bytes: Buffer
  readonly lines: number
}

/** See the head of this file. What cannot be written, or waits for too long, is dropped, counted, and told later. */
export class LineWriter {
  readonly #fd: number
  readonly #isFile: boolean
  readonly #droppedLine: (lines: number) => string
  readonly #gathered: Buffer
  #length = 0
  #lines = 0
  /** Pieces that wait for a reader; the first one is being written while `#isWriting`. */
  readonly #waiting: Chunk[] = []
  #waitingBytes = 0
  #isWriting = false
  #isEnding = false
  #retryAtMs = 0
  #dropped = 0
  #timer: NodeJS.Timeout | null = null
  #whenWritten: (() => void)[] = []

  /** @param droppedLine makes a line of the number of lines that were dropped */
  constructor(fd: number, droppedLine: (lines: number) => string) {
    this.#fd = fd
    this.#isFile = fstatSync(fd).isFile()
    this.#droppedLine = droppedLine
    this.#gathered = Buffer.allocUnsafeSlow(this.#isFile ? FILE_BYTES : PIPE_BYTES)
    process.on('exit', () => this.#finish())
  }

  /** Takes a line of at most `LINE_BYTES_MAX` bytes, with its line break. */
  add(line: string): void {
    const isSmall = line.length * UTF8_BYTES_MAX <= this.#gathered.length - this.#length
    if (!isSmall && Buffer.byteLength(line) > this.#gathered.length - this.#length) this.#cut()
    this.#length += this.#gathered.write(line, this.#length)
    this.#lines++
    this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS).unref()
  }

  /** Writes what is gathered; `done` is called when it is written, or cannot be. */
  flush(done?: () => void): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#cut()
    if (done === undefined) return
    if (this.#waiting.length === 0) done()
    else this.#whenWritten.push(done)
  }

  #cut(): void {
    if (this.#length === 0) return
    const chunk = { bytes: this.#gathered.subarray(0, this.#length), lines: this.#lines }
    this.#length = 0
    this.#lines = 0
    if (this.#isFile) this.#writeNow(chunk)
    else if (this.#waitingBytes + chunk.bytes.length > WAITING_BYTES_MAX) this.#dropped += chunk.lines
    else this.#enqueue({ ...chunk, bytes: Buffer.from(chunk.bytes) })
  }

  #writeNow({ bytes, lines }: Chunk): void {
    if (performance.now() < this.#retryAtMs) {
      this.#dropped += lines
      return
    }
    try {
      for (let offset = 0; offset < bytes.length;) offset += writeSync(this.#fd, bytes, offset)
      this.#tellDropped()
    } catch {
      this.#failed(lines)
    }
  }

  #enqueue(chunk: Chunk): void {
    this.#waiting.push(chunk)
    this.#waitingBytes += chunk.bytes.length
    if (!this.#isEnding) this.#writeNext()
  }

  #writeNext(): void {
    const [chunk] = this.#waiting
    if (chunk === undefined) {
      for (const done of this.#whenWritten.splice(0)) done()
      if (this.#dropped > 0) this.#tellDropped()
    } else if (!this.#isWriting) {
      this.#isWriting = true
      this.#write(chunk, 0)
    }
  }

  /** Writes a piece from `offset`; only a pipe that does not block takes less than all. */
  #write(chunk: Chunk, offset: number): void {
    if (performance.now() < this.#retryAtMs) {
      this.#dropped += chunk.lines
      this.#written()
      return
    }
    write(this.#fd, chunk.bytes, offset, (error, count) => {
      if (error?.code === 'EAGAIN') setTimeout(() => this.#write(chunk, offset), FULL_MS)
      else if (error === null && offset + count < chunk.bytes.length) this.#write(chunk, offset + count)
      else {
        if (error !== null) this.#failed(chunk.lines)
        this.#written()
      }
    })
  }

  #written(): void {
    this.#waitingBytes -= this.#waiting.shift()?.bytes.length ?? 0
    this.#isWriting = false
    this.#writeNext()
  }

  #failed(lines: number): void {
    this.#dropped += lines
    this.#retryAtMs = performance.now() + RETRY_MS
  }

  #tellDropped(): void {
    if (this.#dropped === 0 || performance.now() < this.#retryAtMs) return
    const lines = this.#dropped
    this.#dropped = 0
    this.add(this.#droppedLine(lines))
  }

  /** At exit: what is left, but for what another thread is writing. A reader that is gone, or reads no more, is given up. */
  #finish(): void {
    this.#isEnding = true
    this.#cut()
    const left = this.#isWriting ? this.#waiting.slice(1) : this.#waiting
    for (const { bytes } of left) if (!writeWhole(this.#fd, bytes)) return
  }
}

function writeWhole(fd: number, bytes: Buffer): boolean {
  let offset = 0
  for (let tries = 0; offset < bytes.length && tries < FULL_TRIES_MAX; tries++) {
    try {
      offset += writeSync(fd, bytes, offset)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) return false
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_MS)
    }
  }
  return offset === bytes.length
}
