// How connections end on every transport: from either side, in order or not, and what of the last words arrives.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, Socket } from 'node:net'
import { join } from 'node:path'
import { after, test, type TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { connectSocket } from '@xengate/channel'
import { strayCompletions } from './ring/loop.ts'
import { duplicate, F_DUPFD_CLOEXEC } from './ring/system.ts'
import { digestOf, directoryFor, Heard, KINDS, type Pair, pair, pattern, PeerHeard, until } from './testing/peers.ts'
import { transports } from './testing/transports.ts'

const DEADLINE = { timeout: 60_000 }
const MIB = 1_048_576
const NEVER_MS = 60_000

after(() => assert.equal(strayCompletions(), 0))

for (const transport of transports()) {
  for (const kind of KINDS) {
    const on = `${transport.name}, ${kind}`

    test(`${on}: a peer that has ended is still written to`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      peer.end('question')
      await heard.until('ended')
      assert.equal(heard.text, 'question')
      wire.text('answer')
      wire.flush()
      await until(() => said.text === 'answer', 'the answer')
      assert.equal(heard.has('closed'), false)
      let isSent = false
      wire.end(() => (isSent = true))
      await heard.until('closed')
      await until(() => isSent && said.isEnded, 'the end')
      assert.equal(wire.fd, -1)
      assert.deepEqual(heard.events, ['ended', 'closed'])
    })

    test(`${on}: a peer is read from after the end was written`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      const data = pattern(MIB)
      wire.data(data, 0, data.length)
      wire.flush()
      let takenAtEnd = -1
      wire.end(() => (takenAtEnd = said.byteCount))
      await until(() => said.isEnded, 'the end')
      assert.equal(said.digest(), digestOf(data))
      await until(() => takenAtEnd >= 0, 'word of the end')
      peer.end('late')
      await heard.until('closed')
      assert.equal(heard.text, 'late')
    })

    test(
      `${on}: a wire that is reset tells so once, and the peer sees no orderly end over TCP`,
      DEADLINE,
      async (t) => {
        const { wire, heard, peer } = await pair(t, transport, kind)
        const said = new PeerHeard(peer)
        await nextTurn()
        wire.text('half of an answ')
        wire.flush()
        await until(() => said.text !== '', 'a part')
        wire.reset()
        assert.equal(wire.fd, -1)
        await heard.until('closed')
        await until(() => said.isEnded || said.isClosed, 'the end')
        assert.equal(said.error, kind === 'tcp' ? 'ECONNRESET' : '')
        assert.equal(said.isEnded, kind !== 'tcp')
        assert.deepEqual(heard.events, ['closed'])
      },
    )

    test(`${on}: a wire that has just been ended can be reset`, DEADLINE, async (t) => {
      for (const wait of [() => {}, () => Promise.resolve(), nextTurn]) {
        const { wire, heard, peer } = await pair(t, transport, kind)
        const said = new PeerHeard(peer)
        await nextTurn()
        wire.end()
        await wait()
        wire.reset()
        await heard.until('closed')
        await until(() => said.isEnded || said.isClosed, 'the end')
      }
    })

    test(`${on}: a reset in the callback of a read ends the wire`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      heard.onBytes = () => wire.reset()
      peer.write(pattern(200_000))
      await heard.until('closed')
      await until(() => said.isEnded || said.isClosed, 'the end')
      assert.deepEqual(heard.events, ['closed'])
    })

    test(`${on}: a peer that resets closes the wire`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      if (kind === 'tcp') peer.resetAndDestroy()
      else peer.destroy()
      if (kind === 'tcp') await heard.until('closed')
      else {
        await heard.until('ended')
        wire.destroy()
        await heard.until('closed')
      }
    })

    test(`${on}: nothing is told after a wire is destroyed within the callback of a read`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      heard.onBytes = () => wire.destroy()
      peer.write(pattern(500_000))
      await heard.until('closed')
      const { byteCount } = heard
      for (let turn = 0; turn < 10; turn++) await nextTurn()
      assert.equal(heard.byteCount, byteCount)
      assert.deepEqual(heard.events, ['closed'])
      await until(() => said.isEnded || said.isClosed, 'the end')
    })

    test(`${on}: a short answer arrives whole when the wire is destroyed at once`, DEADLINE, async (t) => {
      for (let round = 0; round < 20; round++) {
        const { wire, heard, peer } = await pair(t, transport, kind)
        const said = new PeerHeard(peer)
        heard.onBytes = () => {
          wire.text('HTTP/1.1 400 Bad Request\r\n\r\n')
          wire.flush()
          if (round % 2 === 0) wire.text('and more')
          wire.flush()
          wire.destroy()
          assert.equal(wire.fd, -1)
        }
        peer.write('GET')
        await heard.until('closed')
        await until(() => said.isEnded, 'the end')
        assert.equal(said.text, `HTTP/1.1 400 Bad Request\r\n\r\n${round % 2 === 0 ? 'and more' : ''}`)
      }
    })

    test(`${on}: what was written in the turns before arrives as well`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      let expected = ''
      heard.onBytes = () => {
        const text = `answer ${heard.text.length}\n`
        expected += text
        wire.text(text)
        wire.flush()
        if (heard.text.length === 20) wire.destroy()
      }
      for (let count = 0; count < 20; count++) {
        peer.write('.')
        await nextTurn()
      }
      await heard.until('closed')
      await until(() => said.isEnded, 'the end')
      assert.equal(said.text, expected)
    })

    test(`${on}: last words written while another wire is read arrive as well`, DEADLINE, async (t) => {
      const [from, to] = [await pair(t, transport, kind), await pair(t, transport, kind)]
      const said = new PeerHeard(to.peer)
      let expected = ''
      from.heard.onBytes = () => {
        // So that the next read is asked for before what is written now.
        from.wire.pause()
        from.wire.resume()
        if (to.wire.fd === -1) return
        const text = `${from.heard.byteCount} `
        expected += text
        to.wire.text(text)
        to.wire.flush()
        if (from.heard.byteCount > 60_000) to.wire.destroy()
      }
      from.wire.pause()
      from.peer.write(pattern(150_000))
      for (let turn = 0; turn < 5; turn++) await nextTurn()
      from.wire.resume()
      await to.heard.until('closed')
      await until(() => said.isEnded, 'the end')
      assert.equal(said.text, expected)
    })

    test(`${on}: finishing sends everything to a slow peer, and drops what comes`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const data = pattern(6 * MIB)
      wire.data(data, 0, data.length)
      wire.flush()
      await until(() => wire.isPending, 'it to wait')
      wire.finish(NEVER_MS)
      peer.write('more')
      for (let turn = 0; turn < 10; turn++) await nextTurn()
      const said = new PeerHeard(peer)
      await heard.until('closed')
      await until(() => said.isEnded || said.isClosed, 'the end')
      assert.equal(said.digest(), digestOf(data))
      assert.equal(heard.byteCount, 0)
      assert.deepEqual(heard.events, ['closed'])
    })

    test(`${on}: finishing gives up a peer that takes nothing`, DEADLINE, async (t) => {
      const { wire, heard } = await pair(t, transport, kind)
      const data = pattern(16 * MIB)
      wire.data(data, 0, data.length)
      wire.flush()
      wire.finish(50)
      await heard.until('closed')
      assert.deepEqual(heard.events, ['closed'])
    })

    test(`${on}: finishing with nothing to send ends at once`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      wire.finish(NEVER_MS)
      assert.equal(heard.has('closed'), false)
      await heard.until('closed')
      await until(() => said.isEnded, 'the end')
    })

    test(`${on}: an early answer is read although what is sent fails`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const data = pattern(16 * MIB)
      wire.data(data, 0, data.length)
      wire.flush()
      await until(() => wire.isPending, 'it to wait')
      peer.write('413 too much', () => peer.destroy())
      await heard.until('closed')
      assert.equal(heard.text, '413 too much')
    })

    test(`${on}: writing to a peer that is gone closes the wire`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      peer.destroy()
      await until(() => {
        wire.text('x')
        wire.flush()
        return heard.has('closed')
      }, 'closed')
      wire.text('nobody')
      wire.flush()
      wire.end()
      wire.destroy()
    })

    test(`${on}: a connection that is given away in the callback of a read goes on elsewhere`, DEADLINE, async (t) => {
      const made = await pair(t, transport, kind)
      const { wire, heard, peer } = made
      let fd = -1
      heard.onBytes = () => {
        assert.equal(wire.stop(), true)
        fd = duplicate(wire.fd, F_DUPFD_CLOEXEC, 0)
        wire.destroy()
      }
      peer.write('first')
      await until(() => fd !== -1, 'the first bytes')
      await goesOnElsewhere(t, made, fd)
      assert.equal(heard.text, 'first')
    })

    test(`${on}: a connection that is being read can be given away as well`, DEADLINE, async (t) => {
      const made = await pair(t, transport, kind)
      const { wire, peer, heard } = made
      peer.write('first')
      await heard.untilText('first')
      for (let turn = 0; turn < 5; turn++) await nextTurn()
      assert.equal(wire.stop(), true)
      peer.write('second')
      for (let turn = 0; turn < 10; turn++) await nextTurn()
      const fd = duplicate(wire.fd, F_DUPFD_CLOEXEC, 0)
      wire.destroy()
      await goesOnElsewhere(t, made, fd, 'second')
      assert.equal(heard.text, 'first')
    })

    test(`${on}: a wire that has stopped can be resumed`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      for (let round = 0; round < 20; round++) {
        if (round % 3 === 0) await nextTurn()
        wire.stop()
        peer.write(`${round} `)
        if (round % 2 === 0) await nextTurn()
        wire.resume()
      }
      await heard.untilText(Array.from({ length: 20 }, (_, round) => `${round} `).join(''))
    })

    test(`${on}: a wire is quiet until something has come`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      const said = new PeerHeard(peer)
      await nextTurn()
      assert.equal(wire.isQuiet(), true)
      wire.text('question')
      wire.flush()
      await until(() => said.text === 'question', 'the question')
      heard.onBytes = () => wire.pause()
      peer.write('answer')
      await heard.untilText('answer')
      assert.equal(wire.isQuiet(), true)
      wire.text('another')
      wire.flush()
      await until(() => said.text === 'questionanother', 'another question')
      peer.write('unasked')
      await until(() => !wire.isQuiet(), 'what was not asked for')
      wire.resume()
      await until(() => heard.has('closed') || heard.text === 'answerunasked', 'it to be told')
    })

    test(`${on}: a peer that has ended is not quiet`, DEADLINE, async (t) => {
      const { wire, peer, heard } = await pair(t, transport, kind)
      for (let turn = 0; turn < 5; turn++) await nextTurn()
      wire.pause()
      peer.end()
      await until(() => !wire.isQuiet(), 'the end')
      wire.destroy()
      await heard.until('closed')
      assert.equal(heard.byteCount, 0)
    })

    test(
      `${on}: of several wires, those are written to on which nothing has come in this turn`,
      DEADLINE,
      async (t) => {
        for (const count of [1, 2, 8]) {
          const pairs = await Promise.all(Array.from({ length: count }, () => pair(t, transport, kind)))
          const saids = pairs.map(({ peer }) => new PeerHeard(peer))
          for (let turn = 0; turn < 5; turn++) await nextTurn()
          for (const { wire } of pairs) wire.expectNothing()
          const isStray = (index: number): boolean => index % 2 === 0
          for (const [index, { peer, wire }] of pairs.entries()) {
            if (isStray(index)) peer.write('unasked')
            wire.text(`question ${index}`)
            wire.flush()
          }
          for (const [index, { heard }] of pairs.entries()) {
            if (isStray(index)) await heard.until('closed')
            else await until(() => saids[index]?.text === `question ${index}`, 'the question')
            assert.equal(heard.byteCount, 0)
            assert.equal(saids[index]?.text, isStray(index) ? '' : `question ${index}`)
          }
        }
      },
    )

    test(`${on}: wires that have just read something long are written to when nothing follows`, DEADLINE, async (t) => {
      const long = pattern(8192)
      const pairs = await Promise.all(Array.from({ length: 8 }, () => pair(t, transport, kind)))
      const saids = pairs.map(({ peer }) => new PeerHeard(peer))
      for (const { wire, heard, peer } of pairs) {
        heard.expectsMore = true
        heard.onBytes = () => {
          if (heard.byteCount < long.length || !wire.isQuiet()) return
          wire.text('question')
          wire.flush()
        }
        peer.write(long)
      }
      for (const [index, { heard }] of pairs.entries()) {
        await until(() => saids[index]?.text === 'question', 'the question')
        assert.deepEqual(heard.events, [])
      }
    })

    test(`${on}: what comes before anything was written to a quiet wire ends it`, DEADLINE, async (t) => {
      const { wire, heard, peer } = await pair(t, transport, kind)
      await nextTurn()
      assert.equal(wire.isQuiet(), true)
      peer.write('unasked')
      await heard.until('closed')
      assert.deepEqual(heard.events, ['closed'])
      assert.equal(heard.byteCount, 0)
    })
  }

  test(`${transport.name}: a reset that a write has met first is no end`, DEADLINE, async (t) => {
    const { wire, heard, peer } = await pair(t, transport, 'tcp')
    await nextTurn()
    peer.write('part of an answer')
    await until(() => heard.text !== '', 'a part')
    wire.text('more')
    wire.flush()
    peer.resetAndDestroy()
    // It writes at once.
    if (wire.stop()) wire.resume()
    await heard.until('closed')
    assert.deepEqual(heard.events, ['closed'])
  })

  test(`${transport.name}: descriptors are used again while others are being closed`, DEADLINE, async (t) => {
    // Each of many connections is destroyed while it reads and writes, and its number given to the next one.
    const path = join(directoryFor(t), 's')
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk) => socket.write(chunk))
      socket.write('x'.repeat(3000))
    }).listen(path)
    await once(server, 'listening')
    t.after(() => void server.close())
    const numbers = new Set<number>()
    let closedCount = 0
    let count = 0
    const open = (): void => {
      const connected = connectSocket(path)
      assert.ok(connected.kind === 'connected')
      numbers.add(connected.fd)
      const wire = transport.adopt(connected.fd, true)
      const heard = new Heard(wire)
      const name = `${count++}`
      wire.text(name)
      wire.flush()
      heard.onBytes = () => {
        assert.match(heard.text, new RegExp(`^x{1,3000}($|${name})`))
        if (heard.byteCount >= 3000) wire.destroy()
      }
      heard.onClosed = () => {
        closedCount++
        if (count < 2000) open()
      }
    }
    for (let index = 0; index < 20; index++) open()
    await until(() => closedCount >= 2000, '2,000 connections')
    assert.ok(numbers.size < 200, `${numbers.size} numbers`)
  })
}

/** @param waiting what was sent before and is not read */
async function goesOnElsewhere(t: TestContext, { heard, peer }: Pair, fd: number, waiting = ''): Promise<void> {
  await heard.until('closed')
  const said = new PeerHeard(peer)
  const other = new Socket({ fd, allowHalfOpen: true })
  t.after(() => other.destroy())
  const otherSaid = new PeerHeard(other)
  peer.write('third')
  await until(() => otherSaid.text === `${waiting}third`, `the rest, had ${otherSaid.text}`)
  other.end('goes on')
  await until(() => said.text === 'goes on' && said.isEnded, 'the answer')
}
