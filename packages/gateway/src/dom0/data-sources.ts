// Data sources for xcp-rrdd, which records them for the host and has clients of xapi plot them: a file in its directory, in version 2 of the
// protocol of its plugins (plugin-protocol-v2.md of xapi's documentation). All numbers are big-endian.
//
//   "DATASOURCES"
//   CRC-32 of time and values, CRC-32 of the metadata, count of values: 4 bytes each
//   time: a double, in seconds since the epoch; values: 8 bytes each, a double or an integer
//   length of the metadata: 4 bytes; metadata: JSON, which says what the values are, in their order
//
// xcp-rrdd watches the directory: it takes what is renamed to a new name, and forgets what is removed, so that nothing has to be registered
// there, also not after it was started again. It maps the file into its memory, which therefore keeps its size and is written in place.

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { failureOf } from '../logging/causes.ts'
import type { Log } from '../logging/log.ts'
import type { Counts } from '../metrics/counts.ts'
import { makeDirectories } from '../state-directory.ts'

/** What is told: counts since the daemon started, and bytes of memory now. */
export interface Sample {
  readonly counts: Counts
  readonly memoryBytes: number
}

/** As xcp-rrdd reads. */
const INTERVAL_MS = 5000

const NAME = 'xengate'
const HEADER = Buffer.from('DATASOURCES')
const TIME_AT = HEADER.length + 12
const VALUES_AT = TIME_AT + 8

interface Source {
  readonly description: string
  readonly units: string
  readonly value_type: 'int64' | 'float'
  /** `derive`: xcp-rrdd records how fast the value grows. */
  readonly type: 'gauge' | 'derive'
}

/** In the order of their names, which is that of the values. */
const SOURCES: Readonly<Record<string, Source>> = {
  xengate_errors: {
    description: 'Requests that Xengate or a service failed to answer, with a status of 500 or more',
    units: 'err/s',
    value_type: 'int64',
    type: 'derive',
  },
  xengate_latency: {
    description: 'Mean time until services answered through Xengate; 0 while none did',
    units: 'ms',
    value_type: 'float',
    type: 'gauge',
  },
  xengate_memory: {
    description: 'Memory of the processes of Xengate that is theirs alone',
    units: 'B',
    value_type: 'int64',
    type: 'gauge',
  },
  xengate_refusals: {
    description: 'Requests that Xengate refused',
    units: 'req/s',
    value_type: 'int64',
    type: 'derive',
  },
  xengate_requests: {
    description: 'Requests to Xengate',
    units: 'req/s',
    value_type: 'int64',
    type: 'derive',
  },
}

const METADATA = Buffer.from(JSON.stringify({ datasources: mapSources() }))
const COUNT = Object.keys(SOURCES).length
const LENGTH_AT = VALUES_AT + COUNT * 8
const BYTES = LENGTH_AT + 4 + METADATA.length

function mapSources(): Readonly<Record<string, unknown>> {
  const more = { owner: 'host', default: 'true', min: '0.0', max: 'inf' }
  return Object.fromEntries(Object.entries(SOURCES).map(([name, source]) => [name, { ...source, ...more }]))
}

/** See the head of this file. */
export class DataSources {
  readonly #directory: string
  readonly #sample: () => Promise<Sample>
  readonly #log: Log
  readonly #bytes = Buffer.alloc(BYTES)
  #before: Counts | null = null
  #fd: number | null = null
  #hasFailed = false
  #isClosed = false
  #timer: NodeJS.Timeout | undefined

  constructor(directory: string, sample: () => Promise<Sample>, log: Log) {
    this.#directory = directory
    this.#sample = sample
    this.#log = log
    HEADER.copy(this.#bytes)
    this.#bytes.writeUInt32BE(crc32(METADATA), HEADER.length + 4)
    this.#bytes.writeUInt32BE(COUNT, HEADER.length + 8)
    this.#bytes.writeUInt32BE(METADATA.length, LENGTH_AT)
    METADATA.copy(this.#bytes, LENGTH_AT + 4)
  }

  get #path(): string {
    return join(this.#directory, NAME)
  }

  start(): void {
    void this.#write()
    this.#timer = setInterval(() => void this.#write(), INTERVAL_MS).unref()
  }

  /** Takes the file away, by which xcp-rrdd knows that there are no more values. @param isKept whether another process writes it now */
  close(isKept = false): void {
    clearInterval(this.#timer)
    this.#isClosed = true
    if (this.#fd === null) return
    const own = fstatSync(this.#fd).ino
    closeSync(this.#fd)
    this.#fd = null
    if (!isKept && lstatSync(this.#path, { throwIfNoEntry: false })?.ino === own) unlinkSync(this.#path)
  }

  async #write(): Promise<void> {
    const sample = await this.#sample()
    if (this.#isClosed) return
    this.#encode(sample)
    try {
      if (this.#fd !== null && fstatSync(this.#fd).nlink === 0) this.#forget(this.#fd)
      if (this.#fd === null) this.#fd = this.#open()
      else writeSync(this.#fd, this.#bytes, 0, LENGTH_AT, 0)
      this.#hasFailed = false
    } catch (error) {
      if (!this.#hasFailed) this.#log.warn({ event: 'data-sources-failed', path: this.#path, error: failureOf(error) })
      this.#hasFailed = true
    }
  }

  /** Somebody has removed the file. */
  #forget(fd: number): void {
    closeSync(fd)
    this.#fd = null
  }

  #encode({ counts, memoryBytes }: Sample): void {
    const bytes = this.#bytes
    bytes.writeDoubleBE(Date.now() / 1000, TIME_AT)
    const answers = counts.answers - (this.#before?.answers ?? 0)
    const latencyMs = counts.latencyMs - (this.#before?.latencyMs ?? 0)
    this.#before = { ...counts }
    bytes.writeBigInt64BE(BigInt(counts.errors), VALUES_AT)
    bytes.writeDoubleBE(answers === 0 ? 0 : latencyMs / answers, VALUES_AT + 8)
    bytes.writeBigInt64BE(BigInt(memoryBytes), VALUES_AT + 16)
    bytes.writeBigInt64BE(BigInt(counts.refusals), VALUES_AT + 24)
    bytes.writeBigInt64BE(BigInt(counts.requests), VALUES_AT + 32)
    bytes.writeUInt32BE(crc32(bytes.subarray(TIME_AT, LENGTH_AT)), HEADER.length)
  }

  /** Writes the whole file: over that of a daemon that was killed, which xcp-rrdd has mapped, or as a new one that is there at once. */
  #open(): number {
    makeDirectories(this.#directory, 0o755)
    const left = lstatSync(this.#path, { throwIfNoEntry: false })
    if (left?.isFile() === true && left.size === BYTES) return this.#fill(this.#path, constants.O_RDWR)
    rmSync(this.#path, { force: true })
    // What ends so is not looked at.
    const beside = `${this.#path}.tmp`
    rmSync(beside, { force: true })
    const fd = this.#fill(beside, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL)
    renameSync(beside, this.#path)
    return fd
  }

  #fill(path: string, flags: number): number {
    const fd = openSync(path, flags | constants.O_NOFOLLOW, 0o644)
    fchmodSync(fd, 0o644)
    writeSync(fd, this.#bytes, 0, BYTES, 0)
    return fd
  }
}
