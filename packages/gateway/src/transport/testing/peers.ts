// Wires with a peer on node:net, and what they tell.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { connectSocket } from '@xengate/channel'
import type { Listening, Transport, Wire, WireListener } from '../transport.ts'

/** How long anything is waited for, in milliseconds. */
const WAIT_MS = 10_000
const LOOK_AGAIN_MS = 2

/** Waits until `isTrue`. Throws when that takes too long; `what` says what was waited for. */
export async function until(isTrue: () => boolean, what: string): Promise<void> {
  const lastMs = performance.now() + WAIT_MS
  while (!isTrue()) {
    assert.ok(performance.now() < lastMs, `waited for ${what}`)
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_AGAIN_MS)
    })
  }
}

/** Writes down what a wire tells. */
export class Heard implements WireListener {
  readonly wire: Wire
  #chunks: Buffer[] = []
  byteCount = 0
  /** What was told beside bytes, in order. */
  readonly events: string[] = []
  /** Called within `bytes`, when those were written down. */
  onBytes: (() => void) | null = null
  onDrained: (() => void) | null = null
  onClosed: (() => void) | null = null
  /** What `bytes` returns. */
  expectsMore = false
  /** Whether only the count of the bytes is kept. */
  isCounting = false

  constructor(wire: Wire) {
    this.wire = wire
    wire.listener = this
  }

  bytes(bytes: Buffer, from: number, to: number): boolean {
    this.#tell('bytes')
    this.byteCount += to - from
    if (!this.isCounting) this.#chunks.push(Buffer.from(bytes.subarray(from, to)))
    this.onBytes?.()
    return this.expectsMore
  }

  ended(): void {
    this.#tell('ended')
  }

  drained(): void {
    this.#tell('drained')
    this.onDrained?.()
  }

  closed(): void {
    this.#tell('closed')
    this.onClosed?.()
  }

  #tell(event: string): void {
    assert.ok(!this.events.includes('closed'), `${event} after the wire has closed`)
    if (event !== 'bytes') this.events.push(event)
  }

  get data(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  get text(): string {
    return this.data.toString('latin1')
  }

  has(event: string): boolean {
    return this.events.includes(event)
  }

  untilText(text: string): Promise<void> {
    return until(() => this.text === text, `${JSON.stringify(text)}, had ${JSON.stringify(this.text.slice(0, 200))}`)
  }

  until(event: string): Promise<void> {
    return until(() => this.has(event), `${event}, had ${this.events.join()}`)
  }
}

/** What a peer has received. */
export class PeerHeard {
  readonly #hash = createHash('sha256')
  text = ''
  byteCount = 0
  isEnded = false
  isClosed = false
  error = ''

  constructor(peer: Socket) {
    peer.on('data', (chunk) => {
      this.#hash.update(chunk)
      this.byteCount += chunk.length
      if (this.text.length < 65_536) this.text += chunk.toString('latin1')
    })
    peer.on('end', () => (this.isEnded = true))
    peer.on('close', () => (this.isClosed = true))
    peer.on('error', (error: NodeJS.ErrnoException) => (this.error = error.code ?? ''))
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}

/** A wire and who is at its other end. */
export interface Pair {
  readonly wire: Wire
  readonly heard: Heard
  readonly peer: Socket
}

/** How a wire comes to be: accepted over TCP or on a Unix socket, or from a descriptor that has connected to one. */
export const KINDS = ['tcp', 'unix', 'adopted'] as const
export type Kind = (typeof KINDS)[number]

/** A directory for sockets, which is removed after the test. */
export function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

/** A listening socket of `transport`, and how to connect to it. */
export interface Listener {
  readonly listening: Listening
  readonly connect: () => Socket
  /** What could not be accepted. */
  readonly failures: readonly string[]
}

/** Listens until the test is over. @param take has each wire */
export async function listenOn(
  t: TestContext,
  transport: Transport,
  kind: Kind,
  take: (wire: Wire) => void,
): Promise<Listener> {
  const path = join(directoryFor(t), 's')
  const failures: string[] = []
  const listening = await transport.listen(kind === 'tcp' ? { host: '127.0.0.1', port: 0 } : { path }, {
    accepted: take,
    failed: (code) => failures.push(code),
  })
  t.after(() => listening.close())
  const at = kind === 'tcp' ? { port: listening.port, host: '127.0.0.1' } : { path }
  return { listening, failures, connect: () => connect({ ...at, allowHalfOpen: true }) }
}

/** Makes a wire with a peer. Both are ended after the test. */
export async function pair(t: TestContext, transport: Transport, kind: Kind): Promise<Pair> {
  const made = kind === 'adopted' ? await adoptedPair(t, transport) : await acceptedPair(t, transport, kind)
  made.peer.on('error', () => {})
  t.after(async () => {
    made.wire.destroy()
    made.peer.destroy()
    await made.heard.until('closed')
  })
  return made
}

async function acceptedPair(t: TestContext, transport: Transport, kind: Kind): Promise<Pair> {
  let heard: Heard | null = null
  const { connect: connectPeer } = await listenOn(t, transport, kind, (wire) => (heard = new Heard(wire)))
  const peer = connectPeer()
  await until(() => heard !== null, 'a connection')
  const found = heard as Heard | null
  assert.ok(found)
  return { wire: found.wire, heard: found, peer }
}

async function adoptedPair(t: TestContext, transport: Transport): Promise<Pair> {
  const path = join(directoryFor(t), 's')
  const server: Server = createServer({ allowHalfOpen: true }).listen(path)
  await once(server, 'listening')
  t.after(() => void server.close())
  const connected = connectSocket(path)
  assert.ok(connected.kind === 'connected')
  const [peer] = (await once(server, 'connection')) as [Socket]
  const wire = transport.adopt(connected.fd, true)
  return { wire, heard: new Heard(wire), peer }
}

/** Bytes of which no part is like another, always the same. */
export function pattern(byteCount: number, seed: number = 1): Buffer {
  const bytes = Buffer.allocUnsafe(byteCount + 4)
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    bytes.writeUInt32LE((Math.imul(at + seed * 0x9e37, 2_654_435_761) ^ (at >>> 9)) >>> 0, at)
  }
  return bytes.subarray(0, byteCount)
}

export function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
