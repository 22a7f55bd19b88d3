// The system's clock jumps, as when somebody sets it: what lives goes on, what has ended stays ended, and nothing waits for the hour to come.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startValkey } from './harness/backends.ts'
import { MovedClock } from './harness/clock.ts'
import { Place, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { Scrape } from './harness/metrics.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp, startChannelServices } from './harness/services.ts'

const NAME = 'com.example.clock'
const PASSED = 'com.example.passed'
const HOUR_SECONDS = 3600
/** What an answer's time may be off by. */
const NEAR_MS = 60_000

function get(path: string, session: string): string {
  return `GET /services/plugin/${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

test('a clock that jumps an hour ends no session, revives none, and stops nothing', async (t) => {
  const scope = scopeOf(t)
  const clock = await MovedClock.make(scope)
  const place = await Place.make(scope, { tables: '[control]\nmetrics = "127.0.0.1:0"\n' })
  await place.addDefaultUser()
  await serveHttp(scope, place.socket(NAME), (_request, response) => void response.end('served'))
  await startChannelServices(scope, place.plugin, PASSED)
  const daemon = await place.start(clock.within)
  const metrics = String(daemon.events.find(({ event }) => event === 'started')?.['metrics'])
  const [session, ended] = [await daemon.login(), await daemon.login()]
  using kept = await RawClient.connect(daemon.url)
  using passed = await RawClient.connect(daemon.url)
  assert.equal((await kept.exchange(get(NAME, session))).text, 'served')
  assert.equal((await passed.exchange(get(`${PASSED}/way`, session))).text, 'channel')
  await daemon.logout(ended)

  let counted = 0
  for (const seconds of [HOUR_SECONDS, -HOUR_SECONDS, 0]) {
    clock.move(seconds)
    const refused = await exchange(daemon.url, get(NAME, ended))
    assert.equal(refused.status, 403)
    const expectedMs = Date.now() + seconds * 1000
    const isNear = (ms: number): boolean => Math.abs(ms - expectedMs) < NEAR_MS
    assert.ok(isNear(Date.parse(refused.header('date') ?? '')), 'workers see the jump')
    assert.equal((await kept.exchange(get(NAME, session))).text, 'served')
    assert.equal((await passed.exchange(get(`${PASSED}/way`, session))).text, 'channel')
    // The primary judges sessions that a worker does not know: one that is new, and what became of it.
    const fresh = await daemon.login()
    assert.equal((await exchange(daemon.url, get(NAME, fresh))).text, 'served')
    await daemon.logout(fresh)
    assert.equal((await exchange(daemon.url, get(NAME, fresh))).status, 403)
    await until(() => daemon.events.some(({ time }) => isNear(Date.parse(String(time)))), 'a line of that time')
    const before = counted
    counted = (await Scrape.of(metrics)).sum('xengate_requests_total')
    assert.ok(counted > before, 'requests are counted')
  }
})

test("sessions in Valkey go by the server's clock, from the first moment after a jump", async (t) => {
  const scope = scopeOf(t)
  const clock = await MovedClock.make(scope)
  const { url } = await startValkey(scope)
  const tables = `[sessions]\nauthority = "valkey"\nidle-timeout = "30m"\n[valkey]\nurl = "${url}"\n`
  const place = await Place.make(scope, { tables })
  await place.addUser(USER.name, USER.password, USER.role)
  await serveHttp(scope, place.socket(NAME), (_request, response) => void response.end('served'))
  const daemon = await place.start(clock.within)
  for (const seconds of [HOUR_SECONDS, -HOUR_SECONDS]) {
    // Nobody has used it: it is looked for in Valkey.
    const session = await daemon.login()
    clock.move(seconds)
    assert.equal((await exchange(daemon.url, get(NAME, session))).text, 'served')
  }
})
