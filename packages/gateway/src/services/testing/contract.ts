// What every registry promises, as tests. A registry runs them with a way to start a pool of hosts, and says where it differs.

import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import type { PoolRegistry } from '../registry.ts'
import { Whereabouts } from '../whereabouts.ts'

/** Where a registry differs from others. */
export interface RegistryCapabilities {
  /** Whether hosts tell each other. If not, every host knows what `TABLE` says, from the start on. */
  readonly isShared: boolean
  /** How late others forget a host that has died, in milliseconds. */
  readonly forgetsWithinMs: number
}

/** The table of a registry that is not shared. */
export const TABLE: Readonly<Record<string, string>> = {
  'com.example.fixed': 'https://host-b.example',
  __proto__name: 'https://host-c.example:8443',
}

/** A registry on one host, started. */
export interface StartedHost {
  readonly registry: PoolRegistry
  /** Where clients reach the host. */
  readonly origin: string
  /** Ends without a word to the others, as a host does that loses its power. */
  readonly die: () => Promise<void>
}

/** A pool without hosts yet. */
export interface StartedPool {
  /** Starts a registry on the host `name`; it goes away with the test. `hear` is given to it before it starts. */
  readonly startHost: (name: string, hear: (registry: PoolRegistry) => void) => Promise<StartedHost>
  /** Takes what the hosts share away, and brings it back as it was. Only where `isShared`. */
  readonly takeAway: (how: 'gone' | 'silent') => Promise<void>
  readonly bringBack: () => Promise<void>
}

/** How to run the tests on a registry. */
export interface RegistryKind {
  readonly name: string
  readonly capabilities: RegistryCapabilities
  readonly start: (t: TestContext) => Promise<StartedPool>
}

/** A host with the table that its workers have. */
interface Host extends StartedHost {
  readonly whereIs: (name: string, session?: string) => string | undefined
}

const SERVICE = 'com.example.backup'
/** News is to be everywhere within this. */
const NEWS_MS = 1000
/** What a test allows for a busy machine, on top of what is promised. */
const SLACK_MS = 2000
const STEP_MS = 5

async function hostIn(pool: StartedPool, name: string): Promise<Host> {
  const table = new Whereabouts()
  const host = await pool.startHost(name, (registry) => registry.onChanged((changes) => table.take(changes)))
  return { ...host, whereIs: (service, session = 'session') => table.whereIs(service, session) }
}

async function hostsIn(pool: StartedPool): Promise<[Host, Host, Host]> {
  return [await hostIn(pool, 'host-a'), await hostIn(pool, 'host-b'), await hostIn(pool, 'host-c')]
}

async function until(isTrue: () => boolean, what: string, ms: number = NEWS_MS + SLACK_MS): Promise<void> {
  const lastMs = performance.now() + ms
  while (!isTrue()) {
    assert.ok(performance.now() < lastMs, `waited ${ms} ms until ${what}`)
    await pause(STEP_MS)
  }
}

function areAt(hosts: readonly Host[], origin: string | undefined): () => boolean {
  return () => hosts.every((host) => host.whereIs(SERVICE) === origin)
}

/** The tests. */
export function registryContract({ name, capabilities, start }: RegistryKind): void {
  describe(`registry ${name}: contract`, { timeout: 60_000 }, () => {
    if (capabilities.isShared) sharedTests(start, capabilities)
    else fixedTests(start)

    test('knows nothing of a name that nobody has', async (t) => {
      const a = await hostIn(await start(t), 'host-a')
      for (const unknown of [SERVICE, '', '__proto__', 'constructor', 'com.example.Fixed']) {
        assert.equal(a.whereIs(unknown), undefined)
      }
    })

    test('is closed twice, and announces nothing then', async (t) => {
      const pool = await start(t)
      const [a, b] = [await hostIn(pool, 'host-a'), await hostIn(pool, 'host-b')]
      await a.registry.close()
      await a.registry.close()
      a.registry.announce([SERVICE])
      await pause(50)
      assert.equal(b.whereIs(SERVICE), undefined)
    })
  })
}

function fixedTests(start: RegistryKind['start']): void {
  test('says what its table says, from the start, whatever is announced', async (t) => {
    const a = await hostIn(await start(t), 'host-a')
    a.registry.announce(['com.example.fixed'])
    for (const [service, origin] of Object.entries(TABLE)) assert.equal(a.whereIs(service), origin)
  })

  test('never says this host', async (t) => {
    const b = await hostIn(await start(t), 'host-b')
    assert.equal(b.origin, TABLE['com.example.fixed'])
    assert.equal(b.whereIs('com.example.fixed'), undefined)
  })
}

function sharedTests(start: RegistryKind['start'], { forgetsWithinMs }: RegistryCapabilities): void {
  test('a service that starts, moves and stops is where it is for every host, and nowhere for its own', async (t) => {
    const [a, b, c] = await hostsIn(await start(t))
    b.registry.announce([SERVICE, 'com.example.other'])
    await until(areAt([a, c], b.origin), 'it is on B', NEWS_MS)
    assert.equal(b.whereIs(SERVICE), undefined)
    c.registry.announce([SERVICE])
    b.registry.announce(['com.example.other'])
    await until(areAt([a, b], c.origin), 'it has moved to C')
    assert.equal(c.whereIs(SERVICE), undefined)
    assert.equal(a.whereIs('com.example.other'), b.origin)
    c.registry.announce([])
    await until(areAt([a, b, c], undefined), 'it is nowhere')
  })

  test('a host that starts later knows what runs already', async (t) => {
    const pool = await start(t)
    const b = await hostIn(pool, 'host-b')
    b.registry.announce([SERVICE])
    const a = await hostIn(pool, 'host-a')
    await until(areAt([a], b.origin), 'the new host knows')
  })

  test('of several hosts one is chosen evenly, and kept for the same session', async (t) => {
    const [a, b, c] = await hostsIn(await start(t))
    b.registry.announce([SERVICE])
    c.registry.announce([SERVICE])
    const sessions = Array.from({ length: 600 }, (_, index) => `session-${index}`)
    const chosen = (): Set<string | undefined> => new Set(sessions.map((session) => a.whereIs(SERVICE, session)))
    await until(() => chosen().size === 2, 'both are chosen')
    const before = new Map(sessions.map((session) => [session, a.whereIs(SERVICE, session)]))
    const onB = [...before.values()].filter((origin) => origin === b.origin).length
    assert.ok(onB > 240 && onB < 360, `${onB} of 600 sessions are on one of two hosts`)
    for (const [session, origin] of before) assert.equal(a.whereIs(SERVICE, session), origin)
    c.registry.announce([])
    await until(() => chosen().size === 1, 'one is left')
    assert.deepEqual(chosen(), new Set([b.origin]))
  })

  test('a host that stops running a service sends clients to one that has run it longer', async (t) => {
    const [a, b] = await hostsIn(await start(t))
    a.registry.announce([SERVICE])
    await until(areAt([b], a.origin), 'it is on A')
    b.registry.announce([SERVICE])
    b.registry.announce([])
    await until(areAt([b], a.origin), 'B sends clients to A')
  })

  test('a host that is closed is forgotten at once', async (t) => {
    const [a, b] = await hostsIn(await start(t))
    b.registry.announce([SERVICE])
    await until(areAt([a], b.origin), 'it is on B')
    await b.registry.close()
    await until(areAt([a], undefined), 'B is forgotten')
  })

  test('a host that dies is forgotten in time, and the others are not', async (t) => {
    const [a, b, c] = await hostsIn(await start(t))
    b.registry.announce([SERVICE])
    c.registry.announce(['com.example.other'])
    await until(() => a.whereIs(SERVICE) === b.origin && a.whereIs('com.example.other') === c.origin, 'both are known')
    await b.die()
    await until(areAt([a, c], undefined), 'B is forgotten', forgetsWithinMs + SLACK_MS)
    assert.equal(a.whereIs('com.example.other'), c.origin)
  })

  for (const how of ['gone', 'silent'] as const) {
    test(`what changes while the store is ${how} is known when it is back`, async (t) => {
      const pool = await start(t)
      const [a, b, c] = await hostsIn(pool)
      b.registry.announce([SERVICE])
      await until(areAt([a, c], b.origin), 'it is on B')
      await pool.takeAway(how)
      b.registry.announce([])
      c.registry.announce([SERVICE])
      await pool.bringBack()
      await until(areAt([a, b], c.origin), 'it is on C', 20_000)
      assert.equal(c.whereIs(SERVICE), undefined)
    })
  }

  test('a host that can hear of nobody any more forgets everybody', async (t) => {
    const pool = await start(t)
    const [a, b] = await hostsIn(pool)
    b.registry.announce([SERVICE])
    await until(areAt([a], b.origin), 'it is on B')
    await pool.takeAway('silent')
    await until(areAt([a], undefined), 'A knows of nobody', forgetsWithinMs + SLACK_MS)
    await pool.bringBack()
    await until(areAt([a], b.origin), 'A knows again', 20_000)
  })
}
