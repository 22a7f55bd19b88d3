import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { XapiClient, type XapiSettings } from '../../xapi/client.ts'
import type { StandIn } from '../../xapi/testing/stand-in/start.ts'
import { AuthorityUnavailableError } from '../authority.ts'
import { authorityOf, freshDirectory, localSettings, standInOf, TRUST } from './testing/start.ts'

const PATIENT = { recheckMs: 60_000, staleGraceMs: 500 }

/** HTTPS with the password of root. */
function remoteSettings(t: TestContext, standIn: StandIn, password = 'root-pw'): XapiSettings {
  const passwordFile = join(freshDirectory(t), 'password')
  writeFileSync(passwordFile, `${password}\n`)
  const address = { kind: 'https', origin: standIn.url } as const
  return { address, caFile: standIn.certificateFile, user: 'root', passwordFile }
}

describe('authority xapi', { timeout: 60_000 }, () => {
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
    for (let count = 0; count < 3; count++) assert.equal(await authority.find('OpaqueRef:nobody'), undefined)
    assert.equal((await standIn.calls())['pool.get_all'], 3)
  })

  test('keeps a session in use alive in xapi, and lets go of one that is not used', async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn))
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
    const { 'pool.get_all': checks = 0 } = await standIn.calls()
    assert.ok(checks >= 4 && checks <= 9, `a session in use was asked about ${checks} times in five times recheck`)
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
    assert.equal(await authority.find('OpaqueRef:of-before'), undefined)
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
    await assert.rejects(authority.find('OpaqueRef:x'), AuthorityUnavailableError)
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
    const authority = authorityOf(t, localSettings(standIn))
    const session = await authority.find(await standIn.login('olga'))
    const forgotten: string[] = []
    authority.onForgotten((uuids) => forgotten.push(...uuids))
    await standIn.fault({ kind: 'slow', ms: 2 })
    const endMs = performance.now() + 10 * TRUST.recheckMs
    let guesses = 0
    while (performance.now() < endMs) {
      authority.touch([session?.uuid ?? ''])
      for (let count = 0; count < 50; count++) authority.find(`OpaqueRef:${++guesses}`).catch(() => {})
      await pause(10)
    }
    assert.deepEqual(forgotten, [])
  })

  test('bounds the calls that wait, and the time of each', async (t) => {
    const standIn = await standInOf(t)
    await standIn.fault({ kind: 'hang' })
    const authority = authorityOf(t, localSettings(standIn), PATIENT)
    const startMs = performance.now()
    const answers = await Promise.allSettled(
      Array.from({ length: 1200 }, (_, index) => authority.find(`OpaqueRef:${index}`)),
    )
    assert.ok(answers.every((answer) => answer.status === 'rejected'))
    assert.ok(performance.now() - startMs < 5000)
    await standIn.fault({ kind: 'none' })
    await standIn.order({ order: 'restart' })
    assert.ok(await authority.find(await standIn.login('olga')))
  })
})
