// The state directory on a file system without room.

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { Place, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { fill, mountSmall } from './harness/disk.ts'
import { exchange } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.hello'
/** Only root may mount. */
const OPTIONS = { timeout: 90_000, skip: process.getuid?.() !== 0 && 'needs root, to mount a small file system' }

async function call(url: string, method: string, params: readonly unknown[]): Promise<string> {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const head = `POST /jsonrpc HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
  const { status, text } = await exchange(url, head + body)
  return `${status} ${text}`
}

test(
  'a full disk: a logout holds, texts say what is wrong, and all is written when there is room',
  OPTIONS,
  async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    await mkdir(place.state)
    if (!mountSmall(scope, place.state, '600k')) {
      t.skip('this root may not mount')
      return
    }
    await place.addUser(USER.name, USER.password, USER.role)
    const daemon = await place.start()
    scope.defer(async () => void (await daemon.stop()))
    await serveHttp(scope, place.socket(NAME), (_request, response) => response.end('hello'))
    const [ending, staying] = [await daemon.login(), await daemon.login()]
    const status = async (session: string): Promise<number> => {
      const request = `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
      return (await exchange(daemon.url, request)).status
    }
    assert.deepEqual([await status(ending), await status(staying)], [200, 200])
    const filler = join(place.state, 'filler')
    fill(filler)
    await until(async () => {
      const answer = await call(daemon.url, 'session.login_with_password', [USER.name, USER.password, '1.0', 'test'])
      return answer.startsWith('503 The disk of the gateway is full: ')
    }, 'a login to be refused')
    assert.match(
      await call(daemon.url, 'session.logout', [ending]),
      /^503 The session has ended, but the disk is full: /,
    )
    assert.deepEqual([await status(ending), await status(staying)], [403, 200])
    const removed = await place.command(['user', 'remove', USER.name])
    assert.equal(removed.code, 1)
    assert.match(removed.stderr, /the disk is full; nothing was changed \[database-full\]\ntry: make room/)
    rmSync(filler)
    await until(
      async () =>
        (await call(daemon.url, 'session.login_with_password', [USER.name, USER.password])).startsWith('200 '),
      'a login',
    )
    daemon.child.signal('SIGKILL')
    await daemon.child.exited
    const again = await place.start()
    assert.match(await call(again.url, 'session.logout', [ending]), /SESSION_INVALID/)
    await again.logout(staying)
    await again.stop()
  },
)

test('a full disk: a new state directory says so', OPTIONS, async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope)
  await mkdir(place.state)
  if (!mountSmall(scope, place.state, '600k')) {
    t.skip('this root may not mount')
    return
  }
  fill(join(place.state, 'filler'))
  const added = await place.command(['user', 'add', 'bob', '--password-stdin'], 'a password\n')
  assert.equal(added.code, 1)
  assert.match(added.stderr, /the disk is full; nothing was changed \[database-full\]/)
})
