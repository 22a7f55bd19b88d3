// What every transport stands: more at a time than it has room for, signals, what else runs in the process, and a hundred thousand
// connections one after another (as many as XENGATE_TEST_CONNECTIONS says; fewer without it).

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { bindSocket, unsentBytes } from '@xengate/channel'
import { strayCompletions } from './ring/loop.ts'
import {
  duplicate,
  F_DUPFD_CLOEXEC,
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_NODELAY,
} from './ring/system.ts'
import { digestOf, directoryFor, Heard, listenOn, pair, pattern, PeerHeard, until } from './testing/peers.ts'
import { limitDescriptors, SO_SNDBUF, socketOption, useUpDescriptors } from './testing/limits.ts'
import { transports } from './testing/transports.ts'
import type { Listening, Wire } from './transport.ts'

const DEADLINE = { timeout: 110_000 }
const CONNECTIONS = Number(process.env['XENGATE_TEST_CONNECTIONS'] ?? 5000)
const LONG_DEADLINE = { timeout: 60_000 + CONNECTIONS * 4 }

after(() => assert.equal(strayCompletions(), 0))

function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length
}

/** Echoes what comes, as a service would that forgets nothing. */
function echo(wire: Wire): Heard {
  const heard = new Heard(wire)
  heard.isCounting = true
  wire.listener = {
    bytes: (bytes, from, to) => {
      wire.data(bytes, from, to)
      wire.flush()
      if (wire.isFull) wire.pause()
      return true
    },
    ended: () => wire.end(),
    drained: () => wire.resume(),
    closed: () => heard.closed(),
  }
  return heard
}

/** Sends `data` and reads as much. */
async function exchange(socket: Socket, data: Buffer): Promise<void> {
  const said = new PeerHeard(socket)
  socket.end(data)
  await until(() => said.isEnded || said.error !== '', 'the end')
  assert.equal(said.error, '')
  assert.equal(said.byteCount, data.length)
  assert.equal(said.digest(), digestOf(data))
  socket.destroy()
}

for (const transport of transports()) {
  const on = transport.name

  test(`${on}: more connections send at one time than there are buffers`, DEADLINE, async (t) => {
    const at = await listenOn(t, transport, 'unix', echo)
    const sockets: Socket[] = []
    for (let index = 0; index < 700; index++) {
      sockets.push(at.connect())
      if (index % 100 === 99) await nextTurn()
    }
    await connected(sockets)
    const data = pattern(40_000)
    await Promise.all(sockets.map((socket, index) => exchange(socket, data.subarray(index))))
    assert.deepEqual(at.failures, [])
  })

  test(`${on}: many clients that do not read starve nobody`, DEADLINE, async (t) => {
    const at = await listenOn(t, transport, 'tcp', echo)
    const slow = Array.from({ length: 100 }, () => at.connect())
    t.after(() => slow.forEach((socket) => socket.destroy()))
    const data = pattern(4_194_304)
    for (const socket of slow) {
      socket.on('error', () => {})
      socket.write(data)
    }
    for (let round = 0; round < 5; round++) await exchange(at.connect(), data)
  })

  test(
    `${on}: little of many short texts waits for a peer that reads nothing, and all goes out`,
    DEADLINE,
    async (t) => {
      for (const length of [101, 199, 300, 401, 599]) {
        const { wire, heard, peer } = await pair(t, transport, 'tcp')
        const text = 'x'.repeat(length)
        let written = 0
        const write = (): void => {
          for (; !wire.isFull; written += length) {
            wire.text(text)
            wire.flush()
          }
        }
        heard.onDrained = write
        write()
        // It is drained as long as the kernel takes what is written.
        let before = 0
        await until(() => before === (before = written), 'a full kernel')
        const waiting = written - wire.takenBytes - unsentBytes(wire.fd)
        assert.ok(waiting <= 34_000, `${waiting} bytes`)
        heard.onDrained = null
        const said = new PeerHeard(peer)
        wire.end()
        await until(() => said.isEnded, 'the end')
        assert.equal(said.byteCount, written)
      }
    },
  )

  test(`${on}: without free descriptors it says so, not too often, and goes on later`, DEADLINE, async (t) => {
    // The ring takes the limit when it begins to accept; so it is low before that, and used up.
    const unlimited = limitDescriptors(Math.max(...readdirSync('/proc/self/fd').map(Number)) + 20)
    t.after(unlimited)
    const at = await listenOn(t, transport, 'unix', echo)
    await exchange(at.connect(), pattern(10_000))
    const waiting = Array.from({ length: 4 }, () => at.connect())
    t.after(() => waiting.forEach((socket) => socket.destroy()))
    for (const socket of waiting)
      socket
        .on('error', () => {})
        .resume()
        .end()
    const fillers = useUpDescriptors()
    await until(() => {
      // Libuv closes those that wait, so that this process has some again.
      fillers.push(...useUpDescriptors())
      return at.failures.length >= 2
    }, 'failures')
    for (const fd of fillers) closeSync(fd)
    assert.ok(at.failures.every((code) => code === 'EMFILE'))
    assert.ok(at.failures.length < 100, `${at.failures.length} failures`)
    await until(() => waiting.every((socket) => socket.closed), 'those that wait')
    await exchange(at.connect(), pattern(10_000))
  })

  test(`${on}: signals during load change nothing`, DEADLINE, async (t) => {
    const signals = { count: 0 }
    const count = (): void => void signals.count++
    process.on('SIGWINCH', count)
    t.after(() => process.off('SIGWINCH', count))
    const shell = spawn('sh', ['-c', `while kill -WINCH ${process.pid}; do :; done`], { stdio: 'ignore' })
    t.after(() => shell.kill('SIGKILL'))
    const at = await listenOn(t, transport, 'tcp', echo)
    const data = pattern(3_000_000)
    let rounds = 0
    while (signals.count < 20 || rounds < 3) {
      await Promise.all(Array.from({ length: 4 }, () => exchange(at.connect(), data)))
      rounds++
    }
  })

  test(`${on}: a peer that is killed is noticed`, DEADLINE, async (t) => {
    const path = join(directoryFor(t), 'p')
    const heards: Heard[] = []
    const listening = await transport.listen(
      { path },
      {
        accepted: (wire) => {
          const heard = new Heard(wire)
          heard.isCounting = true
          heard.onBytes = () => {
            wire.text('go on')
            wire.flush()
          }
          heards.push(heard)
        },
        failed: () => {},
      },
    )
    t.after(() => listening.close())
    const child = spawn(process.execPath, [join(import.meta.dirname, 'testing', 'talking.ts'), path])
    t.after(() => child.kill('SIGKILL'))
    await until(() => (heards[0]?.byteCount ?? 0) > 100_000, 'the peer to talk')
    child.kill('SIGKILL')
    const [heard] = heards
    assert.ok(heard)
    await until(() => heard.has('ended') || heard.has('closed'), 'the end')
    heard.wire.destroy()
    await heard.until('closed')
  })

  test(`${on}: timers, promises, immediates, and processes run beside it`, DEADLINE, async (t) => {
    const at = await listenOn(t, transport, 'tcp', echo)
    const load = { isOver: false }
    const loaded = Promise.all(
      Array.from({ length: 4 }, async () => {
        while (!load.isOver) await exchange(at.connect(), pattern(300_000))
      }),
    )
    const script = 'process.on("message", (message) => process.send(message + 1))'
    const worker = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    t.after(() => worker.kill('SIGKILL'))
    for (let round = 0; round < 10; round++) {
      await sleep(1)
      await nextTurn()
      await new Promise<void>((resolve) => {
        process.nextTick(resolve)
      })
      worker.send(round)
      const [answer] = (await once(worker, 'message')) as [number]
      assert.equal(answer, round + 1)
      const child = spawn('sh', ['-c', 'read line; echo "$line"'])
      child.stdin.end(`line ${round}\n`)
      const [line] = (await once(child.stdout, 'data')) as [Buffer]
      assert.equal(line.toString(), `line ${round}\n`)
      await once(child, 'close')
    }
    load.isOver = true
    await loaded
  })

  test(`${on}: timers and promises run while a wire is open and quiet`, DEADLINE, async (t) => {
    const { wire, peer, heard } = await pair(t, transport, 'tcp')
    for (let round = 0; round < 10; round++) {
      await sleep(2)
      await Promise.resolve()
      await nextTurn()
    }
    // Put off within a callback of the wire: nothing else happens in the process that would run them.
    const order: string[] = []
    heard.onBytes = () => {
      void Promise.resolve().then(() => order.push('promise'))
      process.nextTick(() => order.push('tick'))
      setImmediate(() => order.push('immediate'))
      setTimeout(() => {
        order.push('timer')
        wire.text('done')
        wire.flush()
      }, 5)
    }
    const said = new PeerHeard(peer)
    peer.write('go')
    await until(() => said.text === 'done', 'the answer')
    assert.deepEqual(order.toSorted(), ['immediate', 'promise', 'tick', 'timer'])
  })

  test(`${on}: a listener that throws does not stop the others, and the process ends by itself`, DEADLINE, async () => {
    const script = join(import.meta.dirname, 'testing', 'throwing.ts')
    const child = spawn(process.execPath, ['-C', '@xengate/source', script, transport.name])
    let said = ''
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
    const [code] = (await once(child, 'close')) as [number]
    assert.match(said, /^abc [2-4]\n$/)
    assert.equal(code, 0)
  })

  test(`${on}: a bound socket that others listen on as well is left to them`, DEADLINE, async (t) => {
    const path = join(directoryFor(t), 'b')
    const bound = bindSocket(path)
    assert.ok(bound.kind === 'bound')
    const others = duplicate(bound.fd, F_DUPFD_CLOEXEC, 0)
    const failed = (): void => assert.fail()
    const first = await transport.listen({ fd: bound.fd }, { accepted: echo, failed })
    assert.equal(first.port, 0)
    await exchange(connect({ path, allowHalfOpen: true }), pattern(1000))
    first.close()
    for (let turn = 0; turn < 5; turn++) await nextTurn()
    const waiting = connect({ path, allowHalfOpen: true })
    const second = await transport.listen({ fd: others }, { accepted: echo, failed })
    await exchange(waiting, pattern(1000))
    second.close()
  })

  test(`${on}: a connection that comes while one of two listeners closes is the other's`, DEADLINE, async (t) => {
    const failed = (): void => assert.fail()
    for (const closing of [0, 1]) {
      const path = join(directoryFor(t), 'b')
      const bound = bindSocket(path)
      assert.ok(bound.kind === 'bound')
      const both: Listening[] = []
      for (const fd of [bound.fd, duplicate(bound.fd, F_DUPFD_CLOEXEC, 0)]) {
        const listening = await transport.listen({ fd }, { accepted: echo, failed })
        t.after(() => listening.close())
        both.push(listening)
        for (let turn = 0; turn < 5; turn++) await nextTurn()
      }
      // It waits in the kernel before this returns, and whoever was told of it hears of that after the turn.
      const client = connect({ path, allowHalfOpen: true })
      both[closing]?.close()
      await exchange(client, pattern(1000))
    }
  })

  test(`${on}: a quiet peer is probed over TCP, and a Unix socket has room for much`, DEADLINE, async (t) => {
    const tcp = await pair(t, transport, 'tcp')
    tcp.wire.keepAlive(30_000)
    tcp.wire.expectBulk()
    assert.equal(socketOption(tcp.wire.fd, SOL_SOCKET, SO_KEEPALIVE), 1)
    assert.equal(socketOption(tcp.wire.fd, IPPROTO_TCP, TCP_KEEPIDLE), 30)
    assert.equal(socketOption(tcp.wire.fd, IPPROTO_TCP, TCP_NODELAY), 1)
    const { remotePort, localPort } = tcp.peer
    assert.deepEqual(tcp.wire.ends, {
      source: { address: '127.0.0.1', port: localPort },
      destination: { address: '127.0.0.1', port: remotePort },
    })
    const unix = await pair(t, transport, 'adopted')
    const before = socketOption(unix.wire.fd, SOL_SOCKET, SO_SNDBUF)
    unix.wire.keepAlive(30_000)
    unix.wire.expectBulk()
    assert.ok(socketOption(unix.wire.fd, SOL_SOCKET, SO_SNDBUF) > before)
    assert.equal(unix.wire.ends, null)
  })

  test(`${on}: what cannot be listened at is told`, DEADLINE, async (t) => {
    const at = await listenOn(t, transport, 'tcp', echo)
    const { port } = at.listening
    const hear = { accepted: echo, failed: () => {} }
    await assert.rejects(transport.listen({ host: '127.0.0.1', port }, hear), { code: 'EADDRINUSE' })
    await assert.rejects(transport.listen({ path: '/nowhere/at/all' }, hear), { code: /ENOENT|EACCES/ })
  })

  test(
    `${on}: closing loses no connection that was accepted, and another may listen there again`,
    DEADLINE,
    async (t) => {
      for (let round = 0; round < 5; round++) {
        const heards: Heard[] = []
        const at = await listenOn(t, transport, 'tcp', (wire) => heards.push(echo(wire)))
        const { port } = at.listening
        const sockets = Array.from({ length: 10 }, () => connect({ port, host: '127.0.0.1', allowHalfOpen: true }))
        await connected(sockets)
        if (round % 2 === 0) await until(() => heards.length === 10, 'connections')
        at.listening.close()
        const outcomes = await Promise.all(sockets.map((socket) => answered(socket)))
        const served = outcomes.filter(Boolean).length
        await until(() => heards.every((heard) => heard.has('closed')), 'the wires to close')
        assert.equal(served, heards.length)
        if (round % 2 === 0) assert.equal(served, 10)
        let next: { close(): void } | null = null
        await until(() => {
          if (next === null) {
            void transport
              .listen({ host: '127.0.0.1', port }, { accepted: (wire) => wire.destroy(), failed: () => {} })
              .then(
                (opened) => (next = opened),
                () => {},
              )
          }
          return next !== null
        }, 'the port to be free')
        ;(next as { close(): void } | null)?.close()
      }
    },
  )

  test(`${on}: ${CONNECTIONS} connections leave neither descriptors nor memory behind`, LONG_DEADLINE, async (t) => {
    let closedCount = 0
    const at = await listenOn(t, transport, 'tcp', (wire) => {
      wire.listener = {
        bytes: (bytes, from, to) => {
          wire.data(bytes, from, to)
          wire.flush()
          wire.finish(10_000)
          return false
        },
        ended: () => wire.end(),
        drained: () => {},
        closed: () => closedCount++,
      }
    })
    const run = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index += 10) {
        await Promise.all(Array.from({ length: 10 }, () => answered(at.connect())))
      }
    }
    await run(1000)
    await until(() => closedCount === 1000, 'the first to close')
    globalThis.gc?.()
    const [descriptors, memory] = [descriptorCount(), process.memoryUsage()]
    await run(CONNECTIONS)
    await until(() => closedCount === 1000 + CONNECTIONS, 'the rest to close')
    globalThis.gc?.()
    assert.ok(descriptorCount() <= descriptors + 2, `${descriptorCount()} descriptors, ${descriptors} before`)
    const grown = process.memoryUsage().rss - memory.rss
    assert.ok(grown < 64 * 1_048_576, `${grown} bytes more`)
  })
}

function connected(sockets: readonly Socket[]): Promise<void> {
  return until(() => sockets.every((socket) => !socket.connecting), 'connections')
}

/** Whether what it says is answered. */
async function answered(socket: Socket): Promise<boolean> {
  const said = new PeerHeard(socket)
  socket.end('hello')
  await until(() => said.isEnded || said.isClosed, 'an answer')
  socket.destroy()
  return said.text === 'hello'
}
