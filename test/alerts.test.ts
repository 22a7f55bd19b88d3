// What people see in xapi of a daemon whose services and workers end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startXapi } from './harness/backends.ts'
import { Place } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.backup'
const NOBODY = 'OpaqueRef:0f7a1b3c-9d2e-4c5f-8a6b-1c2d3e4f5a6b'

interface Status {
  readonly authority: { readonly isHeard: boolean }
}

function get(session: string): string {
  return `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\nConnection: close\r\n\r\n`
}

test('xapi is told of expected services, and of workers that keep dying, once', async (t) => {
  const scope = scopeOf(t)
  const xapi = await startXapi(scope)
  await xapi.order({ order: 'add-host', hostname: 'host-a', address: '127.0.0.1' })
  const names = async (count: number): Promise<string[]> => {
    const all = await until(async () => {
      const messages = await xapi.messages()
      return messages.length >= count ? messages : undefined
    }, `${count} messages`)
    return all.map(({ name }) => name)
  }
  const tables = `[sessions]\nauthority = "xapi"\n[sessions.xapi]\nurl = "unix:${xapi.socketPath}"
[pool]\nhost = "host-a"\n[host]\nexpected-services = ["${NAME}"]\nalert-after = "100ms"\n`
  const place = await Place.make(scope, { tables })
  const daemon = await place.start()
  assert.deepEqual(await names(1), ['XENGATE_SERVICE_DOWN'])
  await serveHttp(scope, place.socket(NAME), (_request, response) => response.end('done'))
  assert.deepEqual((await names(2)).slice(1), ['XENGATE_SERVICE_UP'])

  const killed = new Set<number>()
  for (let count = 0; count < 3; count++) {
    const pid = await until(() => daemon.workerPids.find((one) => !killed.has(one)), 'a worker that lives')
    killed.add(pid)
    process.kill(pid, 'SIGKILL')
  }
  assert.deepEqual((await names(3)).slice(2), ['XENGATE_FAILED'])
  assert.match(
    (await xapi.messages())[2]?.body ?? '',
    /^Xengate on host-a has failed\. Its worker processes keep dying\./,
  )

  // Whether xapi is heard is known from the last question.
  const heard = async (): Promise<unknown> => ((await place.ask('/status')) as Status).authority.isHeard
  const asks = (): ReturnType<typeof exchange> => exchange(daemon.url, get(NOBODY))
  assert.equal(await heard(), true)
  await xapi.order({ order: 'close' })
  assert.equal((await asks()).status, 503)
  assert.equal(await heard(), false)
  await xapi.order({ order: 'open' })
  await until(async () => (await asks()).status === 403, 'xapi')
  assert.equal(await heard(), true)
  assert.equal((await daemon.stop()).code, 0)

  // It is not repeated; a configuration is refused that would need another start.
  const second = await place.start()
  await place.configure({ tables: tables.replace('alert-after = "100ms"', 'alerts = false') })
  process.kill(second.child.pid, 'SIGHUP')
  const refused = await second.event(({ event }) => event === 'reload-refused', 'the refusal')
  assert.match(String(refused['problem']), /host\.alerts cannot be changed by a reload/)
  assert.equal((await xapi.messages()).length, 3)
})
