// What every transport does with bytes: they come and go whole and in order, however slow somebody is.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { after, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { blocksInUse } from './blocks.ts'
import { strayCompletions } from './ring/loop.ts'
import { digestOf, type Heard, KINDS, type Pair, pair, pattern, PeerHeard, until } from './testing/peers.ts'
import { transports } from './testing/transports.ts'

const DEADLINE = { timeout: 60_000 }
const MIB = 1_048_576

after(() => assert.equal(strayCompletions(), 0))

for (const transport of transports()) {
  for (const kind of KINDS) {
    const on = `${transport.name}, ${kind}`

    test(`${on}: text and data come and go in order`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      peer.write('GET / HTTP/1.1\r\n\r\n')
      await heard.untilText('GET / HTTP/1.1\r\n\r\n')
      const big = pattern(20_000)
      wire.text('HTTP/1.1 200 OK\r\n\r\n')
      wire.data(Buffer.from('..small..'), 2, 7)
      wire.data(big, 0, big.length)
      wire.text('tail \u00e9')
      wire.flush()
      big.fill(0) // it was borrowed
      const expected = `HTTP/1.1 200 OK\r\n\r\nsmall${pattern(20_000).toString('latin1')}tail \u00e9`
      await until(() => said.byteCount === expected.length, 'all of it')
      assert.equal(said.text, expected)
      assert.equal(wire.isPending, false)
    })

    test(`${on}: writes of many turns and many in a turn stay in order`, DEADLINE, async (t) => {
      const { wire, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      let expected = ''
      for (let turn = 0; turn < 30; turn++) {
        for (let write = 0; write < turn; write++) {
          const text = `${turn}.${write} ${'x'.repeat(write * 37)}\n`
          expected += text
          wire.text(text)
          if (write % 3 !== 0) wire.flush()
        }
        wire.flush()
        if (turn % 2 === 0) await nextTurn()
      }
      await until(() => said.byteCount === expected.length, 'all of it')
      assert.equal(said.digest(), digestOf(Buffer.from(expected, 'latin1')))
    })

    test(`${on}: a peer that does not read gets all of it later`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const data = pattern(8 * MIB)
      const text = 'x'.repeat(100_000)
      wire.text(text)
      wire.data(data, 0, data.length)
      wire.flush()
      assert.equal(wire.isFull, true)
      await until(() => wire.isPending, 'it to wait')
      assert.equal(heard.has('drained'), false)
      const said = new PeerHeard(peer)
      await heard.until('drained')
      assert.equal(wire.isFull, false)
      await until(() => said.byteCount === text.length + data.length, 'all of it')
      assert.equal(said.digest(), digestOf(Buffer.concat([Buffer.from(text), data])))
      assert.equal(wire.isPending, false)
      await until(() => wire.takenBytes === text.length + data.length, 'all to be taken')
    })

    test(`${on}: a slow reader is seen to take bytes, and one that stops is not`, DEADLINE, async (t) => {
      const { wire, peer } = await pair(t, transport, kind)
      const data = pattern(32 * MIB)
      wire.data(data, 0, data.length)
      wire.flush()
      await until(() => wire.isPending, 'it to wait')
      wire.hasMoved()
      await untilStill(() => wire.takenBytes)
      wire.hasMoved()
      assert.equal(wire.hasMoved(), false)
      let read = 0
      for (let step = 0; step < 4; step++) {
        const taken = wire.takenBytes
        read += await readSome(peer, MIB)
        await until(() => wire.takenBytes > taken, 'bytes to be taken')
        assert.equal(wire.hasMoved(), true)
      }
      assert.ok(wire.takenBytes <= data.length)
      await untilStill(() => wire.takenBytes)
      assert.ok(wire.takenBytes > read / 2, `${wire.takenBytes} taken of ${read}`)
      wire.hasMoved()
      assert.equal(wire.hasMoved(), false)
    })

    test(`${on}: pausing within the callback is immediate, and resuming goes on`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      heard.onBytes = () => wire.pause()
      const data = pattern(300_000)
      peer.write(data)
      let pauses = 0
      while (heard.byteCount < data.length) {
        const before = heard.byteCount
        await until(() => heard.byteCount > before, `more than ${before} bytes`)
        const first = heard.byteCount
        for (let turn = 0; turn < 5; turn++) await nextTurn()
        assert.equal(heard.byteCount, first)
        pauses++
        wire.resume()
      }
      assert.ok(pauses > 2)
      assert.equal(digestOf(heard.data), digestOf(data))
    })

    test(`${on}: pausing and resuming within the callback changes nothing`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      heard.expectsMore = true
      heard.onBytes = () => {
        wire.pause()
        wire.resume()
        wire.pause()
        wire.resume()
      }
      const data = pattern(3 * MIB)
      peer.write(data)
      await until(() => heard.byteCount === data.length, 'all of it')
      assert.equal(digestOf(heard.data), digestOf(data))
    })

    test(`${on}: what comes while it is paused is told once it is resumed, the end too`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      for (let turn = 0; turn < 3; turn++) await nextTurn()
      wire.pause()
      const data = pattern(2 * MIB, 5)
      peer.end(data)
      for (let turn = 0; turn < 20; turn++) await nextTurn()
      assert.equal(heard.byteCount, 0)
      wire.resume()
      await heard.until('ended')
      assert.equal(digestOf(heard.data), digestOf(data))
      wire.end()
      await heard.until('closed')
    })

    test(`${on}: pausing at random while much comes loses nothing`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      heard.expectsMore = true
      const data = pattern(24 * MIB, 7)
      peer.end(data)
      let step = 1
      while (!heard.has('ended')) {
        step = (step * 48_271) % 2_147_483_647
        if (step % 3 === 0) wire.pause()
        else wire.resume()
        if (step % 5 === 0) wire.resume()
        await nextTurn()
      }
      assert.equal(heard.byteCount, data.length)
      assert.equal(digestOf(heard.data), digestOf(data))
    })

    test(`${on}: what is passed on to a slow peer without a pause is kept`, DEADLINE, async (t) => {
      const from = await pair(t, transport, kind)
      const to = await pair(t, transport, kind)
      from.wire.listener = {
        bytes: (bytes, start, end) => {
          to.wire.data(bytes, start, end)
          to.wire.flush()
          return true
        },
        ended: () => to.wire.end(),
        drained: () => {},
        closed: () => from.heard.closed(),
      }
      const data = pattern(20 * MIB, 3)
      from.peer.end(data)
      await until(() => to.wire.isPending, 'it to wait')
      const got = await readSlowly(to.peer)
      assert.equal(digestOf(got), digestOf(data))
      await endBoth(from, to)
    })

    for (const byteCount of [1, 4096, 8192, 8193, 65_536, 524_288, 3 * MIB + 17]) {
      test(`${on}: ${byteCount} bytes pass from wire to wire`, DEADLINE, async (t) => {
        const one = await pair(t, transport, kind)
        const two = await pair(t, transport, kind === 'tcp' ? 'unix' : 'tcp')
        relay(one.heard, two.heard)
        const data = pattern(byteCount, byteCount)
        for (const [from, to] of [[one.peer, two.peer] as const, [two.peer, one.peer] as const]) {
          const said = new PeerHeard(to)
          from.write(data)
          await until(() => said.byteCount === byteCount, `${byteCount} bytes`)
          assert.equal(said.digest(), digestOf(data))
        }
        await endBoth(one, two)
      })
    }

    test(`${on}: big bodies pass both ways at a time to peers that read slowly`, DEADLINE, async (t) => {
      const one = await pair(t, transport, kind)
      const two = await pair(t, transport, kind === 'tcp' ? 'unix' : 'tcp')
      relay(one.heard, two.heard)
      const [up, down] = [pattern(24 * MIB, 1), pattern(24 * MIB, 2)]
      one.peer.end(up)
      two.peer.end(down)
      const [gotDown, gotUp] = await Promise.all([readSlowly(one.peer), readSlowly(two.peer)])
      assert.equal(digestOf(gotUp), digestOf(up))
      assert.equal(digestOf(gotDown), digestOf(down))
      await endBoth(one, two)
    })
  }
}

/** Passes what either wire brings to the other, as a relay does. */
function relay(one: Heard, two: Heard): void {
  pass(one, two)
  pass(two, one)
}

function pass(from: Heard, to: Heard): void {
  from.wire.listener = {
    bytes: (bytes, start, end) => {
      to.wire.data(bytes, start, end)
      to.wire.flush()
      if (to.wire.isFull) from.wire.pause()
      return true
    },
    ended: () => to.wire.end(),
    drained: () => to.wire.resume(),
    closed: () => from.closed(),
  }
}

/** Ends both connections, after which no block is in use. */
async function endBoth(one: Pair, two: Pair): Promise<void> {
  one.wire.destroy()
  two.wire.destroy()
  await Promise.all([one.heard.until('closed'), two.heard.until('closed')])
  await until(() => blocksInUse() === 0, 'blocks to be given back')
}

async function readSome(peer: Socket, byteCount: number): Promise<number> {
  let read = 0
  while (read < byteCount) {
    const chunk = peer.read() as Buffer | null
    if (chunk === null) await once(peer, 'readable')
    else read += chunk.length
  }
  return read
}

/** Reads to the end, with breaks. The socket is not destroyed then: it may write still. */
async function readSlowly(peer: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  peer.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    if (chunks.length % 7 !== 0) return
    peer.pause()
    setImmediate(() => peer.resume())
  })
  await once(peer, 'end')
  return Buffer.concat(chunks)
}

/** Waits until `value` is the same for some turns. */
async function untilStill(value: () => number): Promise<void> {
  let last = value()
  let same = 0
  await until(() => {
    same = value() === last ? same + 1 : 0
    last = value()
    return same > 25
  }, 'it to stand still')
}
