import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { XapiClient } from '../../xapi/client.ts'
import type { XapiSettings } from '../../xapi/address.ts'
import type { StandIn } from '../../xapi/testing/stand-in/start.ts'
import { AuthorityUnavailableError } from '../authority.ts'
import { authorityOf, freshDirectory, localSettings, standInOf, TRUST } from './testing/start.ts'

/** What could be a session of xapi's. */
function reference(): string {
  return `OpaqueRef:${randomUUID()}`
}

const PATIENT = { recheckMs: 60_000, staleGraceMs: 500 }

/** HTTPS with the password of root. */
function remoteSettings(t: TestContext, standIn: StandIn, password = 'root-pw'): XapiSettings {
  const passwordFile = join(freshDirectory(t), 'password')
  writeFileSync(passwordFile, `${password}\n`)
  const address = { kind: 'https', origin: standIn.url } as const
  return { address, caFile: standIn.certificateFile, user: 'root', passwordFile }
}

/** Looks until `look` finds something. */
async function until<Found>(
  look: () => Found | undefined | false | Promise<Found | undefined | false>,
): Promise<Found> {
  const lastMs = performance.now() + 20_000
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    assert.ok(performance.now() < lastMs, 'waited 20 s')
    await pause(10)
  }
}

describe('authority xapi', { timeout: 300_000 }, () => {
  test('asks once for all who look for the same session at once, and not again while the answer is trusted', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), PATIENT)
    const id = await standIn.login('olga')
    await Promise.all(Array.from({ length: 50 }, () => authority.find(id)))
    await authority.find(id)
    const calls = await standIn.calls()
    assert.deepEqual(calls, {
      'pool.get_all': 1,
      'session.login_with_password': 1,
      'session.get_record': 1,
      'subject.get_roles': 1,
      'role.get_name_label': 1,
    })
  })

  test('trusts no negative answer: what is nobody now may be somebody a moment later', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), PATIENT)
    for (let count = 0; count < 3; count++) assert.equal(await authority.find(reference()), undefined)
    assert.equal((await standIn.calls())['pool.get_all'], 3)
  })

  test('keeps a session in use alive in xapi, and lets go of one that is not used', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), { ...TRUST, staleGraceMs: 60_000 })
    const [used, unused] = [await standIn.login('olga'), await standIn.login('olga')]
    const sessions = await Promise.all([authority.find(used), authority.find(unused)])
    const [usedUuid = '', unusedUuid = ''] = sessions.map((session) => session?.uuid)
    const forgotten: string[] = []
    authority.onForgotten((uuids) => forgotten.push(...uuids))
    await standIn.calls()
    const endMs = performance.now() + 5 * TRUST.recheckMs
    while (performance.now() < endMs) {
      authority.touch([usedUuid])
      await pause(10)
    }
    assert.deepEqual(forgotten, [unusedUuid])
    const { 'session.get_record': checks = 0, 'pool.get_all': touches } = await standIn.calls()
    assert.ok(checks >= 1 && checks <= 6, `a session in use was asked about ${checks} times in five times recheck`)
    assert.equal(touches, undefined, 'one call is enough')
  })

  test('touches a session in use at xapi every 30 s, and one that is only held not at all', async (t) => {
    const standIn = await standInOf(t)
    let aheadMs = 0
    const trust = { recheckMs: 10_000, staleGraceMs: 60_000 }
    const rounds: string[] = []
    for (const report of ['touch', 'held'] as const) {
      const authority = authorityOf(t, localSettings(standIn), trust, () => performance.now() + aheadMs)
      const uuid = (await authority.find(await standIn.login('root')))?.uuid ?? ''
      const working = setInterval(() => authority[report]([uuid]), 10)
      for (let round = 0; round < 7; round++) {
        await standIn.calls()
        aheadMs += trust.recheckMs
        const calls = await until(async () => {
          const counted = await standIn.calls()
          return Object.keys(counted).length > 0 ? counted : undefined
        })
        rounds.push(`${report}: ${Object.entries(calls).join()}`)
      }
      clearInterval(working)
      await authority.close()
    }
    const [record, touch] = ['session.get_record,1', 'pool.get_all,1']
    assert.deepEqual(rounds, [
      ...[record, record, touch, record, record, touch, record].map((call) => `touch: ${call}`),
      ...Array.from({ length: 7 }, () => `held: ${record}`),
    ])
  })

  test('200 sessions in use cost xapi at most 100 calls in a second, and 7 to keep them alive', async (t) => {
    const standIn = await standInOf(t)
    // A clock that runs four times as fast: half a minute, in which each is kept alive once, takes eight seconds.
    const nowMs = (): number => 4 * performance.now()
    const authority = authorityOf(t, localSettings(standIn), { recheckMs: 2000, staleGraceMs: 20_000 }, nowMs)
    const ids = await Promise.all(Array.from({ length: 200 }, () => standIn.login('olga')))
    const uuids = await Promise.all(ids.map(async (id) => (await authority.find(id))?.uuid ?? ''))
    const working = setInterval(() => authority.touch(uuids), 25)
    t.after(() => clearInterval(working))
    let [touches, others] = [0, 0]
    const count = async (): Promise<number> => {
      const calls = await standIn.calls()
      const counted = Object.values(calls).reduce((sum, one) => sum + one, 0)
      const touched = calls['pool.get_all'] ?? 0
      touches += touched
      others += counted - touched
      return counted
    }
    // They are asked about in step, so that whole rounds are counted, from the end of one to the end of another.
    const roundEnded = async (): Promise<number> => {
      await until(async () => (await count()) > 0)
      await until(async () => (await count()) === 0)
      return nowMs()
    }
    const startMs = await roundEnded()
    ;[touches, others] = [0, 0]
    let seconds = 0
    while (seconds < 31) seconds = ((await roundEnded()) - startMs) / 1000
    t.diagnostic(`${(others / seconds).toFixed(1)} and ${(touches / seconds).toFixed(1)} calls/s`)
    assert.ok(others <= 100 * seconds, `${others} rechecks in ${seconds} s`)
    assert.ok(touches <= 7 * seconds, `${touches} touches in ${seconds} s`)
    assert.ok(touches >= 100, `${touches} are kept alive`)
  })

  test('what lives under a session ends when it has ended, when nobody can tell for the grace, or when nobody knows it', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn))
    const [ending, staying] = [await standIn.login('olga'), await standIn.login('olga')]
    const [endingUuid, stayingUuid] = await Promise.all(
      [ending, staying].map(async (id) => (await authority.find(id))?.uuid ?? ''),
    )
    const heard: string[] = []
    authority.onEnded(async (uuids) => {
      heard.push(...uuids.map((uuid) => `ended ${uuid}`))
    })
    authority.onForgotten((uuids, why) => heard.push(...uuids.map((uuid) => `${why} ${uuid}`)))
    const holding = setInterval(() => authority.held([endingUuid ?? '', stayingUuid ?? '']), 10)
    t.after(() => clearInterval(holding))
    await pause(3 * TRUST.recheckMs)
    assert.equal(heard.length, 0)
    await standIn.order({ order: 'logout', session: ending })
    await until(() => heard.includes(`ended ${endingUuid}`))
    assert.ok(!heard.some((text) => text.endsWith(stayingUuid ?? '')))
    await standIn.order({ order: 'close' })
    await until(() => heard.includes(`doubtful ${stayingUuid}`))
    authority.held(['no such uuid'])
    await until(() => heard.includes('ended no such uuid'))
  })

  test('a session that nobody used for a while has its grace too', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), { recheckMs: 200, staleGraceMs: 60_000 })
    const id = await standIn.login('olga')
    const session = await authority.find(id)
    const forgotten = Promise.withResolvers<string>()
    authority.onForgotten((_uuids, why) => forgotten.resolve(why))
    assert.equal(await forgotten.promise, 'unused')
    await standIn.order({ order: 'close' })
    assert.deepEqual(await authority.find(id), session)
    await assert.rejects(authority.find(reference()), AuthorityUnavailableError)
  })

  test('a short grace has xapi asked in time to answer', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), { recheckMs: 2000, staleGraceMs: 2000 })
    const uuid = (await authority.find(await standIn.login('olga')))?.uuid ?? ''
    const heard: string[] = []
    authority.onForgotten((_uuids, why) => heard.push(why))
    await standIn.fault({ kind: 'slow', ms: 200 })
    const holding = setInterval(() => authority.held([uuid]), 50)
    t.after(() => clearInterval(holding))
    await pause(5000)
    assert.equal(heard.length, 0)
  })

  test('asks again in time about a session that was answered slowly, after others that were asked about later', async (t) => {
    const standIn = await standInOf(t)
    const trust = { recheckMs: 40_000, staleGraceMs: 400_000 }
    let aheadMs = 0
    const authority = authorityOf(t, localSettings(standIn), trust, () => performance.now() + aheadMs)
    const [first, slow, quick] = [await standIn.login('olga'), await standIn.login('olga'), await standIn.login('olga')]
    await authority.find(first)
    await standIn.fault({ kind: 'slow', ms: 1200 })
    const finding = authority.find(slow)
    // The call has to be there before those after it are quick.
    await pause(300)
    await standIn.fault({ kind: 'none' })
    aheadMs += 30_000
    await authority.find(quick)
    const uuid = (await finding)?.uuid ?? ''
    await standIn.calls()
    aheadMs += 8500
    authority.touch([uuid])
    // The others are young for 20 s more.
    await until(async () => (await standIn.calls())['pool.get_all'] === 1)
  })

  test('a client that guesses leaves turns to others', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), PATIENT)
    const ids = await Promise.all(Array.from({ length: 8 }, () => standIn.login('olga')))
    await standIn.fault({ kind: 'slow', ms: 50 })
    let guesses = 0
    let isOver = false
    const guess = (): void => {
      if (isOver) return
      guesses += 1
      authority.find(reference(), '192.0.2.1').then(guess, guess)
    }
    for (let clients = 0; clients < 300; clients++) guess()
    const found = await Promise.all(ids.map((id, index) => authority.find(id, `192.0.2.${2 + index}`)))
    isOver = true
    assert.ok(found.every((session) => session !== undefined))
    assert.ok(guesses < 450, `others waited for ${guesses} guesses`)
  })

  test('asks nothing about what cannot be a session', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), PATIENT)
    const uuid = randomUUID()
    for (const id of [uuid, 'OpaqueRef:NULL', `OpaqueRef:${uuid}x`, `x${reference()}`, `OpaqueRef:${uuid.slice(1)}`]) {
      assert.equal(await authority.find(id), undefined)
    }
    assert.deepEqual(await standIn.calls(), {})
  })

  test('ends what a connection was begun with that was idle when its session ended, once it is at work again', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn))
    const id = await standIn.login('olga')
    const uuid = (await authority.find(id))?.uuid ?? ''
    const forgotten = Promise.withResolvers<readonly string[]>()
    authority.onForgotten(forgotten.resolve)
    assert.deepEqual(await forgotten.promise, [uuid])
    await standIn.order({ order: 'logout', session: id })
    const ended = Promise.withResolvers<readonly string[]>()
    authority.onEnded(async (uuids) => ended.resolve(uuids))
    authority.touch([uuid])
    assert.deepEqual(await ended.promise, [uuid])
  })

  test('logs in again when xapi has lost its session, and says that clients have to', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn), PATIENT)
    const before = await standIn.login('olga')
    assert.ok(await authority.find(before))
    await standIn.order({ order: 'logout-originator', originator: 'xengate' })
    assert.ok(await authority.find(await standIn.login('rita')))
    await standIn.order({ order: 'restart' })
    const after = await standIn.login('rita')
    assert.equal(await authority.find(reference()), undefined)
    assert.ok(await authority.find(after))
  })

  test('a role that changes is known at the next check', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn))
    const id = await standIn.login('olga')
    const session = await authority.find(id)
    assert.deepEqual(session?.roles, ['pool-operator'])
    const forgotten = Promise.withResolvers<readonly string[]>()
    authority.onForgotten(forgotten.resolve)
    await standIn.order({ order: 'set-role', name: 'olga', role: 'vm-admin' })
    const touching = setInterval(() => authority.touch([session.uuid]), 10)
    assert.deepEqual(await forgotten.promise, [session.uuid])
    clearInterval(touching)
    assert.deepEqual((await authority.find(id))?.roles, ['vm-admin'])
  })

  test('follows a member to its coordinator, and comes back when that is gone', async (t) => {
    const standIn = await standInOf(t)
    const settings = { ...remoteSettings(t, standIn), address: { kind: 'unix', path: standIn.socketPath } as const }
    const authority = authorityOf(t, settings)
    const id = await standIn.login('olga')
    assert.ok(await authority.find(id))
    await standIn.fault({ kind: 'member', address: new URL(standIn.url).host })
    assert.ok(await authority.find(await standIn.login('rita')), 'the coordinator is asked')
    // The port of the coordinator is taken away with everything else; what comes back is a coordinator itself.
    await standIn.order({ order: 'close' })
    await assert.rejects(authority.find(reference()), AuthorityUnavailableError)
    await standIn.fault({ kind: 'none' })
    await standIn.order({ order: 'open' })
    await assert.doesNotReject(async () => authority.find(await standIn.login('olga')))
  })

  test('works over HTTPS with a password and a certificate that is known', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, remoteSettings(t, standIn))
    assert.equal((await authority.find(await standIn.login('olga')))?.user, 'olga')
  })

  test('cannot tell with a wrong password, an unknown certificate, or an answer that is none', async (t) => {
    const standIn = await standInOf(t)
    const id = await standIn.login('olga')
    const settings = remoteSettings(t, standIn)
    for (const wrong of [remoteSettings(t, standIn, 'guess'), { ...settings, caFile: null }]) {
      await assert.rejects(authorityOf(t, wrong).find(id), AuthorityUnavailableError)
    }
    const authority = authorityOf(t, settings)
    for (const kind of ['garbage', 'broken'] as const) {
      await standIn.fault({ kind })
      await assert.rejects(authority.find(id), AuthorityUnavailableError)
    }
  })

  test('an error says what failed, and neither a session nor a password', async (t) => {
    const standIn = await standInOf(t)
    await standIn.fault({ kind: 'garbage' })
    const noticed: string[] = []
    const client = new XapiClient(localSettings(standIn), (error) => noticed.push(String(error)))
    t.after(() => client.close())
    await assert.rejects(client.own('pool.get_all', ['OpaqueRef:secret']))
    assert.equal(noticed.length, 1, 'told once')
    assert.match(noticed[0] ?? '', /call session\.login_with_password of xapi at .*: the answer is not JSON$/)
    await standIn.fault({ kind: 'none' })
    await client.own('pool.get_all', [])
    assert.deepEqual(noticed.slice(1), ['null'])
  })

  test('who guesses sessions does not keep those that are known from being asked about', async (t) => {
    const standIn = await standInOf(t)
    // A machine that is busy may keep a call waiting for long, too.
    const staleGraceMs = 2500
    const authority = authorityOf(t, localSettings(standIn), { ...TRUST, staleGraceMs })
    const session = await authority.find(await standIn.login('olga'))
    const forgotten: string[] = []
    authority.onForgotten((uuids) => forgotten.push(...uuids))
    await standIn.fault({ kind: 'slow', ms: 2 })
    const endMs = performance.now() + 2 * staleGraceMs
    while (performance.now() < endMs) {
      authority.touch([session?.uuid ?? ''])
      for (let count = 0; count < 50; count++) authority.find(reference()).catch(() => {})
      await pause(10)
    }
    assert.deepEqual(forgotten, [])
  })

  test('bounds the calls that wait, and the time of each', async (t) => {
    const standIn = await standInOf(t)
    await standIn.fault({ kind: 'hang' })
    const authority = authorityOf(t, localSettings(standIn), PATIENT)
    const startMs = performance.now()
    const answers = await Promise.allSettled(Array.from({ length: 1200 }, () => authority.find(reference())))
    assert.ok(answers.every((answer) => answer.status === 'rejected'))
    assert.ok(performance.now() - startMs < 5000)
    await standIn.fault({ kind: 'none' })
    await standIn.order({ order: 'restart' })
    assert.ok(await authority.find(await standIn.login('olga')))
  })
})
