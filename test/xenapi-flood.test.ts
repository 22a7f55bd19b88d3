// Clients that are not signed in, and call the XenAPI with what is dear to read: nobody else waits for them.

import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { before, describe, test } from 'node:test'
import { type Daemon, startDaemon, USER } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.quick'
const CLIENTS = 600
/** They share the machine with whoever they keep waiting, and with the other tests. */
const ANSWER_MS = 60_000
/** Where the others come from: another address, and that of these clients. */
const ADDRESSES = ['127.0.0.2', '127.0.0.1'] as const

/** A call with `count` values, each of which costs the reader. */
function dearCall(count: number): string {
  const values = '<value/>'.repeat(count)
  const body =
    "<?xml version='1.0'?><methodCall><methodName>system.listMethods</methodName><params><param><value><array><data>" +
    `${values}</data></array></value></param></params></methodCall>`
  return `POST / HTTP/1.1\r\nHost: gate\r\nContent-Type: text/xml\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}

/** Clients that call again as soon as they are answered, until the scope ends. */
class Flood {
  readonly statuses = new Map<string, number>()
  #isOver = false

  constructor(scope: Scope, url: string, call: string) {
    const { hostname, port } = new URL(url)
    const sockets = Array.from({ length: CLIENTS }, () => this.#client(connect(Number(port), hostname), call))
    scope.defer(() => {
      this.#isOver = true
      for (const socket of sockets) socket.destroy()
    })
  }

  /** How many answers came. */
  get answers(): number {
    return this.statuses.values().reduce((sum, count) => sum + count, 0)
  }

  #client(socket: Socket, call: string): Socket {
    let text = ''
    socket.setEncoding('latin1')
    socket.on('error', () => {})
    socket.on('data', (data: string) => {
      text += data
      const end = text.indexOf('\r\n\r\n')
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
      if (end === -1 || text.length < end + 4 + length) return
      const status = text.slice(9, 12)
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
      text = ''
      if (!this.#isOver) socket.write(call)
    })
    socket.write(call)
    return socket
  }
}

/** A call as JSON-RPC; answers the status and the body. */
async function callFrom(
  localAddress: string,
  daemon: Daemon,
  method: string,
  params: readonly unknown[],
): Promise<[number, string]> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const request = `POST /jsonrpc HTTP/1.1\r\nHost: gate\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  return send(localAddress, daemon, request)
}

async function send(localAddress: string, daemon: Daemon, request: string): Promise<[number, string]> {
  const { hostname, port } = new URL(daemon.url)
  const socket = connect({ port: Number(port), host: hostname, localAddress })
  socket.setEncoding('latin1')
  let text = ''
  socket.on('data', (data: string) => (text += data))
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.on('error', reject).on('close', () => resolve())
  socket.write(request)
  await within(promise, 'the answer', ANSWER_MS)
  return [Number(text.slice(9, 12)), text.slice(text.indexOf('\r\n\r\n') + 4)]
}

describe('600 clients without a session that call the XenAPI', { timeout: 300_000 }, () => {
  const suite = scopeOfSuite()
  let daemon: Daemon
  before(async () => {
    daemon = await startDaemon(suite)
    await serveHttp(suite, daemon.place.socket(NAME), (_request, response) => response.end('here'))
  })

  for (const [what, count] of [
    ['with 64 KiB each', 8087],
    ['with 8 KiB each', 990],
  ] as const) {
    test(`${what}: others sign in, and their sessions are known where they were not`, async (t) => {
      const sessions = await Promise.all(Array.from({ length: ADDRESSES.length }, () => daemon.login()))
      const used = await daemon.login()
      const get = (address: string, session: string): Promise<[number, string]> =>
        send(
          address,
          daemon,
          `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\nConnection: close\r\n\r\n`,
        )
      assert.equal((await get('127.0.0.1', used))[0], 200)
      const flood = new Flood(scopeOf(t), daemon.url, dearCall(count))
      await until(() => flood.answers >= CLIENTS, 'as many answers as clients')
      for (const [index, session] of sessions.entries()) {
        const address = ADDRESSES[index % ADDRESSES.length] ?? ''
        assert.equal((await get(address, session))[0], 200, 'a session that the worker has not seen')
        assert.equal((await get(address, used))[0], 200, 'a session in use')
        const login = [USER.name, USER.password]
        const [status, text] = await callFrom(address, daemon, 'session.login_with_password', login)
        assert.deepEqual([status, text.includes('OpaqueRef:')], [200, true], text)
      }
    })
  }
})
