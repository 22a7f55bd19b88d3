// The log and the audit in the host's syslog.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { serve } from '../packages/service/src/index.ts'
import { Child } from './harness/child.ts'
import { Place, USER } from './harness/daemon.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.audited'
const LOCAL6_INFO = 22 * 8 + 6

/** Prints each datagram that comes to the socket argv[1] as a line. */
const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True: print(s.recv(65536).decode(), flush=True)
`

async function startSyslog(scope: Scope, place: Place): Promise<Child> {
  const child = new Child(scope, 'python3', ['-c', RECEIVER, join(place.directory, 'log.sock')])
  await child.printed(({ stdout }) => (stdout.startsWith('bound') ? true : undefined), 'its socket')
  return child
}

function line(child: Child, pattern: RegExp): Promise<RegExpExecArray> {
  return child.printed(({ stdout }) => pattern.exec(stdout) ?? undefined, `a line like ${pattern}`)
}

function request(method: string, session: string, path: string): string {
  const body = method === 'PUT' ? 'Content-Length: 2\r\n' : ''
  const head = `${method} /services/plugin/${NAME}${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n`
  return `${head}${body}Connection: close\r\n\r\n${method === 'PUT' ? 'hi' : ''}`
}

test('the log goes to the facility daemon, and the audit in the form of xapi to local6', async (t) => {
  const scope = scopeOf(t)
  const tables = '[log]\nto = "syslog"\naudit = true\nsyslog = "log.sock"\n'
  const place = await Place.make(scope, { listen: ['unix:gate.sock'], tables })
  const syslog = await startSyslog(scope, place)
  await place.addDefaultUser()
  const daemon = place.spawn()
  await line(syslog, /^<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d xengate\[\d+\]: \{"level":"info",.*"event":"started"/m)
  const url = `unix:${join(place.directory, 'gate.sock')}`
  await serveHttp(scope, place.socket(NAME), (_request, response) => response.end('done'))
  const session = await login(url)
  const trackId = createHash('md5').update(session).digest('hex')

  assert.equal((await exchange(url, request('PUT', session, '/it%27s?secret=1'))).text, 'done')
  const [put = ''] = await line(syslog, new RegExp(`^<${LOCAL6_INFO}>.*'http/put_services'.*$`, 'm'))
  assert.match(
    put,
    new RegExp(
      String.raw`xengate\[\d+\]: \[ info\|\|\d+ \|\|audit\] \('trackid=${trackId}' '(?:LOCAL_SUPERUSER|OpaqueRef:[-\da-f]+)' ` +
        `'${USER.name}' 'ALLOWED' 'OK' 'HTTP' 'http/put_services' `,
    ),
  )
  assert.match(put, /\('service' 'com\.example\.audited' '' ''\) \('path' '\/services\/plugin\/.*\/it%27s' '' ''\)/)
  assert.doesNotMatch(put, /secret|OpaqueRef:[-\da-f]{36}.*\?/)
  await line(syslog, new RegExp(`^<30>.*"event":"request".*"trackid":"${trackId}"`, 'm'))

  // What reads and is answered is no record; what is refused is.
  assert.equal((await exchange(url, request('GET', session, '/read'))).text, 'done')
  assert.equal((await exchange(url, request('GET', 'OpaqueRef:none', '/refused'))).status, 403)
  const [refused = ''] = await line(syslog, new RegExp(`^<${LOCAL6_INFO}>.*/refused'.*$`, 'm'))
  assert.match(refused, /\('' '' '' 'DENIED' 'ERROR:session-invalid' 'HTTP' 'http\/get_services' /)
  assert.doesNotMatch(syslog.stdout, new RegExp(`^<${LOCAL6_INFO}>.*/read'`, 'm'))

  // A sign-in is somebody's, and its request no record of nobody's.
  const [signedIn = ''] = await line(syslog, new RegExp(`^<${LOCAL6_INFO}>.*'sign-in' .*$`, 'm'))
  assert.match(signedIn, /'ALLOWED' 'OK' 'API' 'sign-in' .*\('user' 'alice' '' ''\)/)
  assert.doesNotMatch(syslog.stdout, new RegExp(`^<${LOCAL6_INFO}>.*'xenapi'`, 'm'))

  assert.equal((await place.command(['user', 'remove', USER.name])).code, 0)
  const [removed = ''] = await line(syslog, new RegExp(`^<${LOCAL6_INFO}>.*'user-removed'.*$`, 'm'))
  assert.match(removed, /'ALLOWED' 'OK' 'API' 'user-removed' \(\('user' 'alice' '' ''\) \('uid' '\d+' '' ''\)/)
  assert.equal((await daemon.stop()).code, 0)
  assert.equal(daemon.stdout, '')
})

async function login(url: string): Promise<string> {
  const params = [USER.name, USER.password, '1.0', 'test']
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'session.login_with_password', params })
  const head = `POST /jsonrpc HTTP/1.1\r\nHost: gate\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`
  const { result } = JSON.parse((await exchange(url, head + body)).text) as { readonly result: string }
  return result
}

test('a channel that is over is a record', async (t) => {
  const scope = scopeOf(t)
  const tables = '[log]\naccess = false\naudit = true\nsyslog = "log.sock"\n'
  const place = await Place.make(scope, { tables })
  const syslog = await startSyslog(scope, place)
  await place.addDefaultUser()
  const daemon = await place.start()
  const handler = (_request: IncomingMessage, response: ServerResponse): void => void response.end('done')
  const service = await serve({ name: NAME, directory: place.plugin, handler })
  scope.defer(() => service.close())
  using client = await RawClient.connect(daemon.url)
  const session = await daemon.login()
  await client.send(request('PUT', session, '/on-a-channel').replace('Connection: close\r\n', ''))
  assert.equal((await client.response()).text, 'done')
  await client.send(request('PUT', session, '/last'))
  assert.equal((await client.response()).text, 'done')
  const [record = ''] = await line(syslog, new RegExp(`^<${LOCAL6_INFO}>.*'http/channel_services'.*$`, 'm'))
  assert.match(
    record,
    /'alice' 'ALLOWED' '[^']*' 'HTTP' .*\('service' 'com\.example\.audited' '' ''\).*\('requests' '2' '' ''\)/,
  )
})

test('who is refused again and again does not fill the audit, and is counted', async (t) => {
  const scope = scopeOf(t)
  const tables = '[log]\naccess = false\naudit = true\nsyslog = "log.sock"\n'
  const place = await Place.make(scope, { tables })
  const syslog = await startSyslog(scope, place)
  const daemon = await place.start()
  const ask = (): Promise<unknown> => exchange(daemon.url, request('GET', 'OpaqueRef:none', '/flood'))
  const records = (): number => syslog.stdout.split('/flood').length - 1
  let asked = 0
  while (!/'http\/refused' \(\('requests' '\d+' '' ''\)/.test(syslog.stdout)) {
    await Promise.all(Array.from({ length: 25 }, ask))
    asked += 25
  }
  assert.ok(records() < asked, `${records()} records of ${asked} requests`)
})
