import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { describe, test, type TestContext } from 'node:test'

import { signIn, startEndpoint, type Endpoint } from './testing/endpoint.ts'

/** Calls whose answers have half a megabyte, and who makes them. */
interface Dear {
  readonly body: string
  /** Sends one from an address, and reads no more of the answer than its beginning. */
  readonly unread: (address: string) => Promise<Socket>
  /** Sends one from an address, and reads the answer. */
  readonly status: (address: string) => Promise<number>
}

async function startDear(t: TestContext, endpoint: Endpoint): Promise<Dear> {
  let id = ''
  for (let sessions = 0; sessions < 4; sessions++) {
    id = await signIn(endpoint)
    for (let count = 0; count < 64; count++) await endpoint.call('task.create', id, '<'.repeat(100), '')
  }
  const body = `<methodCall><methodName>task.get_all_records</methodName><params><param><value>${id}</value></param></params></methodCall>`
  const unread = async (address: string): Promise<Socket> => {
    const socket = connect(endpoint.socketPath)
    t.after(() => socket.destroy())
    // An answer that is cut ends in this.
    socket.on('error', () => {})
    const head = `POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: ${address}`
    socket.write(`${head}\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
    await once(socket, 'readable')
    return socket
  }
  const status = async (address: string): Promise<number> => {
    return (await endpoint.send('/', body, { headers: { 'X-Forwarded-For': address } })).status
  }
  return { body, unread, status }
}

describe('answers that are not read', { timeout: 300_000 }, () => {
  test('are bounded for an address: then only short ones are given there', async (t) => {
    const endpoint = await startEndpoint(t)
    const { unread, status } = await startDear(t, endpoint)
    const sockets = await Promise.all(Array.from({ length: 40 }, () => unread('192.0.2.7')))
    assert.equal(await status('192.0.2.7'), 503)
    assert.equal(await status('192.0.2.8'), 200)
    const headers = { 'X-Forwarded-For': '192.0.2.7' }
    const login = { method: 'session.login_with_password', params: ['rita', 'rita-pw'], id: 1 }
    assert.equal((await endpoint.send('/jsonrpc', JSON.stringify(login), { headers })).status, 200)
    for (const socket of sockets) socket.destroy()
    while ((await status('192.0.2.7')) !== 200);
  })

  test('are bounded for all: the address that has most loses its oldest', async (t) => {
    const endpoint = await startEndpoint(t)
    const { unread, status } = await startDear(t, endpoint)
    const sockets: Socket[] = []
    for (let address = 1; address <= 10; address++) {
      for (let count = 0; count < 8; count++) sockets.push(await unread(`192.0.2.${address}`))
    }
    assert.equal(await status('192.0.2.99'), 200)
    const whole = await Promise.all(
      sockets.map(async (socket) => {
        const read = await text(socket).catch(() => '')
        return read.endsWith('</methodResponse>')
      }),
    )
    assert.equal(whole[0], false, 'the oldest is cut')
    const count = whole.filter((isWhole) => isWhole).length
    assert.ok(count >= 20 && count <= 70, `${count} of 80 are whole`)
  })
})
