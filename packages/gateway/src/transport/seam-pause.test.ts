// A listening socket that is told to wait: what comes meanwhile is accepted after it, or by whoever else listens.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test, type TestContext } from 'node:test'
import { bindSocket } from '@xengate/channel'
import { duplicate, F_DUPFD_CLOEXEC } from './ring/system.ts'
import { directoryFor, Heard, until } from './testing/peers.ts'
import { transports } from './testing/transports.ts'
import type { Listening, Transport, Wire } from './transport.ts'

const DEADLINE = { timeout: 60_000 }

/** Listens, and counts what is accepted. */
async function listenTo(
  t: TestContext,
  transport: Transport,
  at: Parameters<Transport['listen']>[0],
): Promise<{ readonly listening: Listening; readonly wires: Wire[] }> {
  const wires: Wire[] = []
  const failed = (code: string): void => assert.fail(code)
  const accepted = (wire: Wire): void => {
    wires.push(new Heard(wire).wire)
  }
  const listening = await transport.listen(at, { accepted, failed })
  t.after(() => {
    listening.close()
    for (const wire of wires) wire.destroy()
  })
  return { listening, wires }
}

for (const transport of transports()) {
  const on = transport.name

  test(`${on}: what comes while a TCP port waits is accepted when it goes on`, DEADLINE, async (t) => {
    const first = await listenTo(t, transport, { host: '127.0.0.1', port: 0 })
    const other = await listenTo(t, transport, { host: '127.0.0.1', port: 0 })
    const { port } = first.listening
    for (let round = 1; round <= 3; round++) {
      first.listening.pause()
      first.listening.pause()
      const waiting = connect(port, '127.0.0.1')
      await once(waiting, 'connect')
      // What comes after it elsewhere is accepted before it.
      const later = connect(other.listening.port, '127.0.0.1')
      await until(() => other.wires.length === round, 'the other connection')
      assert.equal(first.wires.length, round - 1)
      first.listening.resume()
      first.listening.resume()
      await until(() => first.wires.length === round, 'the connection that waited')
      waiting.destroy()
      later.destroy()
    }
    first.listening.pause()
    first.listening.resume()
    const last = connect(port, '127.0.0.1')
    await until(() => first.wires.length === 4, 'a connection after a short pause')
    last.destroy()
  })

  test(
    `${on}: what waits where nothing is accepted is taken, at once, before that is given up`,
    DEADLINE,
    async (t) => {
      const { listening, wires } = await listenTo(t, transport, { host: '127.0.0.1', port: 0 })
      const { port } = listening
      listening.pause()
      const clients = Array.from({ length: 5 }, () => connect(port, '127.0.0.1'))
      await Promise.all(clients.map((client) => once(client, 'connect')))
      listening.finish()
      assert.equal(wires.length, 5)
      for (const client of clients) client.destroy()
    },
  )

  test(`${on}: a socket that two listen on is the other's while one waits`, DEADLINE, async (t) => {
    const path = `${directoryFor(t)}/b`
    const bound = bindSocket(path)
    assert.ok(bound.kind === 'bound')
    const fds = [bound.fd, duplicate(bound.fd, F_DUPFD_CLOEXEC, 0)]
    const [one, other] = await Promise.all(fds.map((fd) => listenTo(t, transport, { fd })))
    assert.ok(one !== undefined && other !== undefined)
    one.listening.pause()
    const clients = Array.from({ length: 5 }, () => connect(path))
    await until(() => other.wires.length === 5, 'five connections')
    assert.equal(one.wires.length, 0)
    other.listening.close()
    one.listening.resume()
    clients.push(connect(path))
    await until(() => one.wires.length === 1, 'the sixth')
    for (const client of clients) client.destroy()
  })

  test(`${on}: one that is closed while it waits is closed`, DEADLINE, async (t) => {
    const { listening } = await listenTo(t, transport, { host: '127.0.0.1', port: 0 })
    const { port } = listening
    listening.pause()
    listening.close()
    listening.resume()
    const refused = connect(port, '127.0.0.1')
    const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException]
    assert.match(error.code ?? '', /^ECONN(REFUSED|RESET)$/)
  })
}
