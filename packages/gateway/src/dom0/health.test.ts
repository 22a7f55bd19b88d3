import assert from 'node:assert/strict'
import { openSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { createLog } from '../logging/log.ts'
import { freshDirectory, localSettings, standInOf } from '../sessions/xapi/testing/start.ts'
import type { StandIn } from '../xapi/testing/stand-in/start.ts'
import { type Expectations, Health } from './health.ts'

const NAME = 'com.example.backup'
const OTHER = 'com.example.other'
const EXPECTED: Expectations = { expectedServices: [NAME], alertAfterMs: 20 }
const WELL_AFTER_MS = 100

interface Setting {
  readonly standIn: StandIn
  /** A daemon with the same state directory; the one before has stopped, or was killed. */
  readonly open: (config?: Partial<Expectations>, wellAfterMs?: number) => Health
  readonly path: string
  /** Waits for an event in the log. */
  readonly logged: (event: string) => Promise<void>
}

async function set(t: TestContext): Promise<Setting> {
  const standIn = await standInOf(t)
  await standIn.order({ order: 'add-host', hostname: 'host-a', address: '127.0.0.1' })
  const path = join(freshDirectory(t), 'alerts.json')
  const logFile = join(freshDirectory(t), 'log')
  const log = createLog({ level: 'warn', fd: openSync(logFile, 'a') })
  const open: Setting['open'] = (config = {}, wellAfterMs = WELL_AFTER_MS) => {
    const options = { xapi: localSettings(standIn), inventory: '/nowhere', hostName: 'host-a', path, log, retryMs: 20 }
    const health = new Health({ ...EXPECTED, ...config }, options, wellAfterMs)
    t.after(() => health.close())
    return health
  }
  const logged: Setting['logged'] = async (event) => {
    const lastMs = performance.now() + 15_000
    while (!readFileSync(logFile, 'utf8').includes(`"${event}"`)) {
      assert.ok(performance.now() < lastMs, event)
      await pause(5)
    }
  }
  return { standIn, open, path, logged }
}

async function namesAre(standIn: StandIn, wanted: readonly string[]): Promise<void> {
  const lastMs = performance.now() + 15_000
  for (;;) {
    const names = (await standIn.messages()).map(({ name }) => name.replace('XENGATE_', ''))
    if (names.join() === wanted.join()) return
    assert.ok(names.length < wanted.length && performance.now() < lastMs, `${names.join()} and not ${wanted.join()}`)
    await pause(5)
  }
}

async function stop(health: Health): Promise<void> {
  health.stopping()
  await health.close()
}

describe('health', { timeout: 120_000 }, () => {
  test('a service that is down is told of once, by all daemons that come, and once when it is up again', async (t) => {
    const { standIn, open } = await set(t)
    const first = open()
    first.start()
    await namesAre(standIn, ['SERVICE_DOWN'])
    const [message] = await standIn.messages()
    const host = (await standIn.order({ order: 'host', hostname: 'host-a' })) as { uuid: string }
    assert.deepEqual([message?.priority, message?.obj_uuid], [3, host.uuid])
    assert.match(message?.body ?? '', /com\.example\.backup on host-a does not accept connections/)
    await stop(first)
    const second = open({ expectedServices: [NAME, OTHER] })
    second.start()
    await namesAre(standIn, ['SERVICE_DOWN', 'SERVICE_DOWN'])
    assert.match((await standIn.messages())[1]?.body ?? '', /com\.example\.other/)
    second.servicesAre([NAME])
    await namesAre(standIn, ['SERVICE_DOWN', 'SERVICE_DOWN', 'SERVICE_UP'])
    assert.equal((await standIn.messages())[2]?.priority, 4)
    // It is expected no more, so that nobody waits for it.
    second.configure(EXPECTED)
    second.servicesAre([NAME, OTHER])
    second.servicesAre([])
    await namesAre(standIn, ['SERVICE_DOWN', 'SERVICE_DOWN', 'SERVICE_UP', 'SERVICE_DOWN'])
    await stop(second)
  })

  test('a service that comes back soon enough is not told of', async (t) => {
    const { standIn, open, path } = await set(t)
    const health = open({ alertAfterMs: 60_000 })
    health.start()
    health.servicesAre([NAME])
    health.servicesAre([])
    health.servicesAre([NAME])
    health.workerTrouble('hung')
    await namesAre(standIn, ['FAILED', 'RECOVERED'])
    assert.equal(statSync(path).mode & 0o777, 0o600)
    await stop(health)
  })

  test('the gateway has failed when a worker hangs, or workers keep dying, and is well again after a time', async (t) => {
    const { standIn, open } = await set(t)
    const health = open({ expectedServices: [] })
    health.start()
    health.workerTrouble('hung')
    await namesAre(standIn, ['FAILED', 'RECOVERED'])
    assert.deepEqual(
      (await standIn.messages()).map(({ priority }) => priority),
      [2, 4],
    )
    for (const trouble of ['died', 'died'] as const) health.workerTrouble(trouble)
    await namesAre(standIn, ['FAILED', 'RECOVERED', 'FAILED', 'RECOVERED'])
    assert.match((await standIn.messages())[2]?.body ?? '', /keep dying/)
    await stop(health)
  })

  test('a daemon that was killed is told of by the next, one that was stopped or whose machine was is not', async (t) => {
    const { standIn, open, path } = await set(t)
    const stopped = open({ expectedServices: [] })
    stopped.start()
    await stop(stopped)
    const killed = open({ expectedServices: [] })
    killed.start()
    await killed.close()
    const next = open({ expectedServices: [] }, 60_000)
    next.start()
    await namesAre(standIn, ['FAILED'])
    await next.close()
    // Told is told: also of one that is killed again and again.
    const again = open({ expectedServices: [] })
    again.start()
    await namesAre(standIn, ['FAILED', 'RECOVERED'])
    await again.close()
    const kept = JSON.parse(readFileSync(path, 'utf8')) as { runningSinceBootMs: number }
    writeFileSync(path, JSON.stringify({ ...kept, runningSinceBootMs: kept.runningSinceBootMs - 3_600_000 }))
    const booted = open({ expectedServices: [] })
    booted.start()
    booted.workerTrouble('hung')
    await namesAre(standIn, ['FAILED', 'RECOVERED', 'FAILED', 'RECOVERED'])
    assert.doesNotMatch((await standIn.messages())[2]?.body ?? '', /ended without/)
    await stop(booted)
  })

  test('what xapi cannot be told now is told when it can, if it is still true', async (t) => {
    const { standIn, open, logged } = await set(t)
    await standIn.fault({ kind: 'broken' })
    const health = open({ expectedServices: [NAME, OTHER] })
    health.start()
    await logged('alert-failed')
    health.servicesAre([OTHER])
    await standIn.fault({ kind: 'none' })
    await namesAre(standIn, ['SERVICE_DOWN'])
    assert.match((await standIn.messages())[0]?.body ?? '', /com\.example\.backup/)
    await stop(health)
  })

  test('a service that comes and goes does not flood xapi, and does not keep the gateway from telling', async (t) => {
    const { standIn, open, logged } = await set(t)
    const wanted: string[] = []
    let health = open()
    for (let count = 0; count < 6; count++) {
      health.start()
      wanted.push('SERVICE_DOWN')
      await namesAre(standIn, wanted)
      health.servicesAre([NAME])
      wanted.push('SERVICE_UP')
      await namesAre(standIn, wanted)
      await stop(health)
      health = open()
    }
    health.start()
    await logged('alerts-held-back')
    health.workerTrouble('hung')
    await namesAre(standIn, [...wanted, 'FAILED', 'RECOVERED'])
    await stop(health)
  })
})
