// Which transport runs, and who says so: the log, the status and check-config.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { probeRing } from '../packages/gateway/src/transport/ring/probe.ts'
import { startDaemon } from './harness/daemon.ts'
import { exchange } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.hello'
const probed = probeRing()

/** What is wanted, what runs then, and why. */
const CASES: readonly (readonly [wanted: string, name: string, reason: RegExp])[] = [
  ['net', 'net', /^as configured$/],
  ['auto', 'net', /^auto: io_uring is to be measured/],
  probed.works ? ['ring', 'ring', /^as configured$/] : ['ring', 'net', /io_uring|kernel|libuv/],
]

for (const [wanted, name, reason] of CASES) {
  test(`transport = "${wanted}" is ${name} here, and whoever asks is told why`, async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope, { transport: wanted })
    const told: unknown[] = [
      daemon.events.find(({ event }) => event === 'worker-ready')?.['transport'],
      ((await daemon.place.ask('/status')) as { readonly transport: unknown }).transport,
    ]
    for (const said of told) {
      const transport = said as { readonly name: string; readonly reason: string }
      assert.equal(transport.name, name)
      assert.match(transport.reason, reason)
    }
    const checked = await daemon.place.command(['check-config'])
    assert.match(checked.stderr, new RegExp(`^transport: ${name} \\(`, 'm'))
    await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => response.end('hello'))
    const session = await daemon.login()
    const text = `GET /services/plugin/${NAME} HTTP/1.1\r\nHost: h\r\nCookie: session_id=${session}\r\nConnection: close\r\n\r\n`
    assert.equal((await exchange(daemon.url, text)).text, 'hello')
  })
}
