// Signals that daemons are sent by habit, at any time; and a stop that nobody has to wait for.

import assert from 'node:assert/strict'
import { copyFileSync, existsSync, linkSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Place, startDaemon, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { scopeOf } from './harness/scope.ts'

const NOTHING = 'GET /nothing HTTP/1.1\r\nHost: gate\r\n\r\n'

describe('SIGUSR1, and in workers SIGUSR2', { timeout: 300_000 }, () => {
  test('open no debugger and end nothing: they leave a line in the log', async (t) => {
    const daemon = await startDaemon(scopeOf(t))
    const [worker = 0] = daemon.workerPids
    // Node.js itself leaves SIGUSR1 alone in workers, without a line.
    process.kill(worker, 'SIGUSR1')
    for (const [pid, signal] of [
      [daemon.child.pid, 'SIGUSR1'],
      [worker, 'SIGUSR2'],
    ] as const) {
      process.kill(pid, signal)
      await daemon.event(
        (event) => event.event === 'signal-ignored' && event['signal'] === signal && event['pid'] === pid,
        `${signal} to ${pid}`,
      )
    }
    assert.equal((await exchange(daemon.url, NOTHING)).status, 404)
    assert.equal(daemon.events.filter(({ event }) => event === 'worker-died').length, 0)
    assert.doesNotMatch(daemon.child.stderr, /Debugger/)
  })

  test('while the daemon is starting, too, and SIGHUP then is a reload when it has started', async (t) => {
    const place = await Place.make(scopeOf(t))
    const child = place.spawn()
    // As soon as the process takes signals; Node.js itself takes some time before it runs any code.
    await until(() => takesSignals(child.pid), 'the process to take signals')
    for (const signal of ['SIGHUP', 'SIGUSR1'] as const) child.signal(signal)
    await child.printed(() => (child.stdout.includes('"reloaded"') ? true : undefined), 'the reload')
    assert.match(child.stdout, /"signal":"SIGUSR1"/)
    assert.doesNotMatch(child.stderr, /Debugger/)
  })
})

/** SIGUSR2 to the primary is an upgrade. Whether a process has handlers for SIGHUP and SIGUSR2, whose default is to end it. */
function takesSignals(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/status`)) return false
  const [, caught = '0'] = /^SigCgt:\s+([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return (BigInt(`0x${caught}`) & 0x801n) === 0x801n
}

describe('a stop', { timeout: 300_000 }, () => {
  test('closes connections on which nothing is asked at once, and those that were never used', async (t) => {
    const daemon = await startDaemon(scopeOf(t))
    using idle = await RawClient.connect(daemon.url)
    await idle.exchange(NOTHING)
    using unused = await RawClient.connect(daemon.url)
    const stopped = daemon.stop()
    // Neither client closes its side: what ends is ended by the gateway.
    await Promise.all([idle.end(), unused.end()])
    assert.equal((await stopped).code, 0)
    assert.equal(daemon.events.filter(({ event }) => event === 'stopped').length, 1)
  })

  test('serves a request that has arrived on such a connection', async (t) => {
    const daemon = await startDaemon(scopeOf(t))
    using idle = await RawClient.connect(daemon.url)
    await idle.exchange(NOTHING)
    const [worker = 0] = daemon.workerPids
    // It arrives while the worker cannot look, and so is there when it hears of the stop.
    process.kill(worker, 'SIGSTOP')
    await idle.send(NOTHING)
    const stopped = daemon.stop()
    await daemon.event(({ event }) => event === 'stopping', 'the stop')
    process.kill(worker, 'SIGCONT')
    const response = await idle.response()
    assert.equal(response.status, 404)
    assert.equal((await stopped).code, 0)
  })

  test('that is asked for twice is logged once as done', async (t) => {
    const daemon = await startDaemon(scopeOf(t))
    daemon.child.signal('SIGINT')
    await daemon.event(({ event }) => event === 'stopping', 'the stop')
    daemon.child.signal('SIGTERM')
    await daemon.child.exited
    assert.equal(daemon.events.filter(({ event }) => event === 'stopped').length, 1)
  })

  test('is not logged of a start that failed', async (t) => {
    const scope = scopeOf(t)
    const daemon = await startDaemon(scope)
    const other = await Place.make(scope, { listen: [new URL(daemon.url).host] })
    const child = other.spawn()
    assert.equal((await child.exited).code, 1)
    assert.match(child.stderr, /the address is in use/)
    assert.doesNotMatch(child.stdout, /"stopped"/)
  })
})

test('a worker that cannot be started is tried again', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope)
  await place.addUser(USER.name, USER.password, USER.role)
  // A Node.js of its own, which can be taken away.
  const node = join(place.directory, 'node')
  try {
    linkSync(process.execPath, node)
  } catch {
    copyFileSync(process.execPath, node)
  }
  const daemon = await place.start(['sh', '-c', 'shift; exec ./node "$@"', 'sh'])
  renameSync(node, `${node}-away`)
  process.kill(daemon.workerPids[0] ?? 0, 'SIGKILL')
  await daemon.event(({ event }) => event === 'worker-error', 'the failed start')
  renameSync(`${node}-away`, node)
  await daemon.child.printed(() => (daemon.workerPids.length >= 2 ? true : undefined), 'another worker')
  assert.equal((await exchange(daemon.url, NOTHING)).status, 404)
  assert.equal((await daemon.stop()).code, 0)
})

test(
  'with few descriptors clients beyond them are told, and the log says how many there are',
  { timeout: 60_000 },
  async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope, { workers: 1 })
    const daemon = await place.start(['sh', '-c', 'ulimit -n 256; exec "$@"', 'sh'])
    const { connections, descriptors } = await daemon.event(({ event }) => event === 'descriptors-few', 'the warning')
    assert.equal(descriptors, 256)
    const clients = await Promise.all(Array.from({ length: 80 }, () => RawClient.connect(daemon.url)))
    const responses = await Promise.all(clients.map((client) => client.exchange(NOTHING)))
    const statuses = responses.map(({ status }) => status)
    assert.equal(statuses.filter((status) => status === 404).length, connections)
    assert.equal(statuses.filter((status) => status === 503).length, 80 - Number(connections))
    for (const client of clients) client[Symbol.dispose]()
  },
)
