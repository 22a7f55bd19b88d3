// What lives under a session of xapi, which tells nobody of a session's end: channels, WebSockets and downloads, all of them
// silent, through the real daemon to a service in a process of its own.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { WebSocket } from 'ws'
import { type StandIn, startXapi } from './harness/backends.ts'
import { Child } from './harness/child.ts'
import { type Daemon, Place } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 90_000 }
/** Services whose connections are passed, and are not. */
const PASSED = 'com.example.passed'
const RELAYED = 'com.example.relayed'
const SERVICE = join(import.meta.dirname, 'services/node_service.ts')
const RECHECK_MS = 2000

interface Setting {
  readonly scope: Scope
  readonly daemon: Daemon
  readonly xapi: StandIn
  readonly session: string
}

async function start(t: TestContext, graceMs: number): Promise<Setting> {
  const scope = scopeOf(t)
  const xapi = await startXapi(scope)
  const tables = `[services.policy."${RELAYED}"]
channels = false
[sessions]
authority = "xapi"
stale-grace = "${graceMs}ms"
[sessions.xapi]
url = "unix:${xapi.socketPath}"
recheck = "${RECHECK_MS}ms"
`
  const place = await Place.make(scope, { workers: 2, tables })
  const daemon = await place.start()
  const argv = ['-C', '@xengate/source', SERVICE, place.plugin, PASSED, RELAYED]
  const service = new Child(scope, process.execPath, argv)
  await service.printed(({ stdout }) => (stdout.includes('ready\n') ? true : undefined), 'the start of the service')
  return { scope, daemon, xapi, session: await xapi.login('olga') }
}

/** Begins something that lives under a session; `gone` resolves when it is over. */
type Begin = (setting: Setting) => Promise<{ readonly gone: Promise<unknown> }>

async function begin({ scope, daemon, session }: Setting, path: string, begun: string): ReturnType<Begin> {
  const client = await RawClient.connect(daemon.url)
  scope.defer(() => client.destroy())
  const gone = isClosed(client.socket)
  await client.send(`GET /services/plugin/${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`)
  await client.until(begun)
  return { gone }
}

async function openSocket({ scope, daemon, session }: Setting, name: string): ReturnType<Begin> {
  const url = `${daemon.url.replace('http:', 'ws:')}/services/plugin/${name}`
  const socket = new WebSocket(url, { headers: { cookie: `session_id=${session}` } })
  socket.on('error', () => {}) // 'close' follows
  scope.defer(() => socket.terminate())
  await within(once(socket, 'open'), 'a WebSocket')
  return { gone: isClosed(socket) }
}

/** Resolves when it is closed, be it by a reset. */
function isClosed(socket: Socket | WebSocket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  socket.once('close', () => resolve())
  return promise
}

const KINDS: Readonly<Record<string, Begin>> = {
  'a channel between two requests': (setting) => begin(setting, `${PASSED}/who`, '"channel":true'),
  'a download on a channel': (setting) => begin(setting, `${PASSED}/hang`, 'begun'),
  'a WebSocket on a channel': (setting) => openSocket(setting, PASSED),
  'a WebSocket that is relayed': (setting) => openSocket(setting, RELAYED),
  'a download that is relayed': (setting) => begin(setting, `${RELAYED}/hang`, 'begun'),
}

for (const [kind, beginOne] of Object.entries(KINDS)) {
  test(`xapi: ${kind} goes on while its session is alive, and ends with it`, DEADLINE, async (t) => {
    const setting = await start(t, 60_000)
    let isGone = false
    const begun = await beginOne(setting)
    const gone = begun.gone.finally(() => {
      isGone = true
    })
    const checked = async (): Promise<boolean> => ((await setting.xapi.calls())['session.get_record'] ?? 0) > 0
    await until(checked, 'the first question')
    for (const time of ['second', 'third']) await until(checked, `the ${time} question`)
    assert.equal(isGone, false)
    const endedMs = performance.now()
    await setting.xapi.order({ order: 'logout', session: setting.session })
    await within(gone, 'its end')
    t.diagnostic(
      `ended ${Math.round(performance.now() - endedMs)} ms after the session, with a recheck of ${RECHECK_MS}`,
    )
  })
}

test('xapi: what lives under a session ends when there has been no answer for stale-grace', DEADLINE, async (t) => {
  const setting = await start(t, 3000)
  const all = await Promise.all(Object.values(KINDS).map((beginOne) => beginOne(setting)))
  await setting.xapi.order({ order: 'close' })
  const awayMs = performance.now()
  await within(Promise.all(all.map(({ gone }) => gone)), 'the end of all')
  t.diagnostic(`ended ${Math.round(performance.now() - awayMs)} ms after xapi was gone, with a grace of 3000`)
})
