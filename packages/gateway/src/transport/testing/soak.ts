// Random traffic with checksums: clients on node:net talk through two wires, which relay, to a server on node:net. They send at random sizes, read
// slowly or not, and end in order, by a reset or in the middle. What arrives is the beginning of what was sent, and all of it after an orderly end.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { connectSocket } from '@xengate/channel'
import type { Transport, Wire } from '../transport.ts'
import { pattern } from './peers.ts'

/** Everybody sends parts of this, of which no one is like another. */
const DATA = pattern(8_388_608, 11)
const CLIENTS = 24

/** Numbers that seem random, the same for the same seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = (seed % 2_147_483_646) + 1
  }

  /** At least 0, and below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647
    return Math.floor((this.#state / 2_147_483_647) * limit)
  }

  is(oneIn: number): boolean {
    return this.below(oneIn) === 0
  }
}

/** What was done in all. */
export interface Soaked {
  exchanges: number
  bytes: number
}

/**
 * Has clients and a server talk through `transport` for `ms` milliseconds. Throws at the first byte that is not as it was sent.
 * @param directory where its sockets are made
 */
export async function soak(transport: Transport, directory: string, ms: number, seed: number): Promise<Soaked> {
  const server = createServer({ allowHalfOpen: true }, serve)
  server.listen(join(directory, 'server'))
  await once(server, 'listening')
  const open = new Set<Wire>()
  const listening = await transport.listen(
    { host: '127.0.0.1', port: 0 },
    {
      accepted: (wire) => relay(transport, wire, join(directory, 'server'), open),
      failed: (code) => assert.fail(code),
    },
  )
  const soaked: Soaked = { exchanges: 0, bytes: 0 }
  const lastMs = performance.now() + ms
  const talk = async (index: number): Promise<void> => {
    const random = new Random(seed * 31 + index)
    while (performance.now() < lastMs) {
      const client = connect({ port: listening.port, host: '127.0.0.1', allowHalfOpen: true })
      const byteCount = await exchange(client, random)
      soaked.bytes += byteCount
      soaked.exchanges++
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, (_, index) => talk(index)))
  listening.close()
  while (open.size > 0) await nextTurn()
  server.close()
  return soaked
}

/** Says what it is told, as it comes. */
function serve(socket: Socket): void {
  socket.on('error', () => {})
  socket.on('data', (chunk) => {
    if (socket.write(chunk)) return
    socket.pause()
    socket.once('drain', () => socket.resume())
  })
  socket.on('end', () => socket.end())
}

function relay(transport: Transport, client: Wire, path: string, open: Set<Wire>): void {
  const connected = connectSocket(path)
  assert.ok(connected.kind === 'connected')
  const service = transport.adopt(connected.fd, true)
  service.expectBulk()
  for (const [from, to] of [
    [client, service],
    [service, client],
  ] as const) {
    open.add(from)
    let hasEnded = false
    from.listener = {
      bytes: (bytes, start, end) => {
        to.data(bytes, start, end)
        to.flush()
        if (to.isFull) from.pause()
        return true
      },
      ended: () => {
        hasEnded = true
        to.end()
      },
      drained: () => to.resume(),
      closed: () => {
        open.delete(from)
        if (hasEnded) to.resume() // nothing it has to say is waited for
        else to.destroy()
      },
    }
  }
}

/** @returns how many bytes came back */
async function exchange(socket: Socket, random: Random): Promise<number> {
  const from = random.below(4_000_000)
  const byteCount = 1 + random.below(random.is(4) ? 4_000_000 : 20_000)
  const isCut = random.is(10)
  const cutAt = random.below(byteCount)
  let at = 0
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    assert.ok(
      chunk.equals(DATA.subarray(from + at, from + at + chunk.length)),
      `another byte after ${at} of ${byteCount}`,
    )
    at += chunk.length
    if (isCut && at > cutAt) {
      if (random.is(2)) socket.resetAndDestroy()
      else socket.destroy()
    } else if (random.is(20)) {
      socket.pause()
      setTimeout(() => socket.resume(), random.below(10))
    }
  })
  for (let sent = 0; sent < byteCount && !socket.destroyed;) {
    const count = Math.min(byteCount - sent, 1 + random.below(300_000))
    const isTaken = socket.write(DATA.subarray(from + sent, from + sent + count))
    sent += count
    if (!isTaken) await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {})
  }
  if (!socket.destroyed) socket.end()
  if (!socket.closed) await once(socket, 'close').catch(() => {})
  if (!isCut) assert.equal(at, byteCount)
  return at
}
