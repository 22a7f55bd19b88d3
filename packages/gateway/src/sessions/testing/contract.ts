// What every authority promises, as tests. An authority runs them with a way to start it, and says where it differs.

import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { AuthorityUnavailableError, type SessionAuthority } from '../authority.ts'
import type { Session } from '../../model/session.ts'

/** Where an authority differs from others. */
export interface AuthorityCapabilities {
  /** How late, in milliseconds, the end of a session in use is heard of that ended elsewhere. */
  readonly heardWithinMs: number
  /** Whether what it asks can be away, while the authority is there. */
  readonly isRemote: boolean
  /** Known sessions are vouched for so much longer when it is, in milliseconds. */
  readonly staleGraceMs: number
}

/** A user that signs in. */
export type TestUser = 'root' | 'olga' | 'rita'

/** An authority that has been started, with the users root (local superuser), olga (pool-operator) and rita (read-only). */
export interface StartedAuthority {
  readonly authority: SessionAuthority
  /** Makes a session as a client does, and answers its id. */
  readonly signIn: (user: TestUser, originator?: string) => Promise<string>
  /** Ends a session by other means than this authority object. */
  readonly endElsewhere: (id: string) => Promise<void>
  /** Takes what it asks away: gone, or there and silent. Only where `isRemote`. */
  readonly takeAway: (how: 'gone' | 'silent') => Promise<void>
  readonly bringBack: () => Promise<void>
}

/** How to run the tests on an authority. */
export interface AuthorityKind {
  readonly name: string
  readonly capabilities: AuthorityCapabilities
  /** Starts one; it and all that it needs go away with the test. */
  readonly start: (t: TestContext) => Promise<StartedAuthority>
}

/** What an authority told, as workers hear it. */
class Heard {
  readonly ended: string[] = []
  readonly forgotten: string[] = []

  constructor(authority: SessionAuthority) {
    authority.onEnded(async (uuids) => {
      this.ended.push(...uuids)
    })
    authority.onForgotten((uuids) => {
      this.forgotten.push(...uuids)
    })
  }

  /** Whether workers would not admit the session without asking. */
  isOut(uuid: string): boolean {
    return this.ended.includes(uuid) || this.forgotten.includes(uuid)
  }
}

const STEP_MS = 10
/** What a test allows for a busy machine, on top of what is promised. */
const SLACK_MS = 1500

/** Waits until `isTrue`, using the session meanwhile as a client that sends requests does. */
async function whileUsing(
  authority: SessionAuthority,
  uuid: string,
  isTrue: () => boolean | Promise<boolean>,
  ms: number,
): Promise<void> {
  const lastMs = performance.now() + ms
  while (!(await isTrue())) {
    assert.ok(performance.now() < lastMs, `waited ${ms} ms`)
    authority.touch([uuid])
    await pause(STEP_MS)
  }
}

async function foundIn(authority: SessionAuthority, id: string): Promise<Session> {
  const session = await authority.find(id)
  assert.ok(session, 'the session is found')
  return session
}

/** The tests. */
export function authorityContract({ name, capabilities, start }: AuthorityKind): void {
  const { heardWithinMs, isRemote, staleGraceMs } = capabilities

  describe(`authority ${name}: contract`, { timeout: 60_000 }, () => {
    test('finds whose a session is', async (t) => {
      const { authority, signIn } = await start(t)
      const root = await foundIn(authority, await signIn('root', 'tests'))
      assert.deepEqual(root, {
        uuid: root.uuid,
        user: 'root',
        subject: 'OpaqueRef:NULL',
        roles: ['pool-admin'],
        originator: 'tests',
        isLocalSuperuser: true,
      })
      const olga = await foundIn(authority, await signIn('olga'))
      assert.match(olga.subject, /^OpaqueRef:[\da-f-]{36}$/)
      assert.deepEqual(
        [olga.user, olga.roles, olga.originator, olga.isLocalSuperuser],
        ['olga', ['pool-operator'], '', false],
      )
      assert.deepEqual((await foundIn(authority, await signIn('rita'))).roles, ['read-only'])
    })

    test('answers the same each time, to all who ask at once, and plain data', async (t) => {
      const { authority, signIn } = await start(t)
      const id = await signIn('olga')
      const sessions = await Promise.all(Array.from({ length: 20 }, () => foundIn(authority, id)))
      for (const session of sessions) assert.deepEqual(session, sessions[0])
      assert.deepEqual(structuredClone(sessions[0]), sessions[0])
      assert.ok(!JSON.stringify(sessions[0]).includes(id.slice('OpaqueRef:'.length)), 'no session holds its id')
    })

    test('finds nobody for what names no session', async (t) => {
      const { authority, signIn } = await start(t)
      const { uuid } = await foundIn(authority, await signIn('root'))
      const texts = ['', 'x', uuid, `OpaqueRef:${uuid}`, 'OpaqueRef:NULL', '*', '"', 'é\0', 'x'.repeat(5000), '../..']
      for (const text of texts) assert.equal(await authority.find(text), undefined, JSON.stringify(text.slice(0, 60)))
      authority.touch(['no such uuid', ''])
    })

    test('tells the end of a session in use that ended elsewhere, and of no other', async (t) => {
      const { authority, signIn, endElsewhere } = await start(t)
      const heard = new Heard(authority)
      const [ending, staying] = [await signIn('olga'), await signIn('olga')]
      const { uuid } = await foundIn(authority, ending)
      const other = await foundIn(authority, staying)
      await endElsewhere(ending)
      const isHeard = async (): Promise<boolean> => {
        authority.touch([other.uuid])
        return Promise.resolve(heard.isOut(uuid))
      }
      await whileUsing(authority, uuid, isHeard, heardWithinMs + SLACK_MS)
      assert.equal(await authority.find(ending), undefined)
      assert.ok(!heard.ended.includes(other.uuid))
      assert.deepEqual(await authority.find(staying), other)
    })

    test('a session that ends while it is looked for is not found, or its end is told', async (t) => {
      const { authority, signIn, endElsewhere } = await start(t)
      const heard = new Heard(authority)
      for (let round = 0; round < 10; round++) {
        const id = await signIn('olga')
        const [session] = await Promise.all([authority.find(id), endElsewhere(id)])
        if (session === undefined) continue
        await whileUsing(authority, session.uuid, () => heard.isOut(session.uuid), heardWithinMs + SLACK_MS)
      }
    })

    test('answers nothing once it is closed', async (t) => {
      const { authority, signIn } = await start(t)
      const id = await signIn('root')
      const { uuid } = await foundIn(authority, id)
      await authority.close()
      await authority.close()
      authority.touch([uuid])
      await assert.rejects(authority.find(id), AuthorityUnavailableError)
    })

    for (const how of isRemote ? (['gone', 'silent'] as const) : []) {
      test(`${how}: cannot tell about an unknown session; stops vouching for a known one after the grace`, async (t) => {
        const { authority, signIn, takeAway, bringBack } = await start(t)
        const heard = new Heard(authority)
        const [known, unknown] = [await signIn('olga'), await signIn('olga')]
        const { uuid } = await foundIn(authority, known)
        await takeAway(how)
        const isTrusted = (): boolean => authority.stalenessMs <= staleGraceMs && !heard.isOut(uuid)
        assert.ok(isTrusted(), 'a known session is vouched for')
        const startMs = performance.now()
        await assert.rejects(authority.find(unknown), AuthorityUnavailableError)
        assert.ok(performance.now() - startMs < 5000, 'it takes less time than a request waits')
        await whileUsing(authority, uuid, () => !isTrusted(), heardWithinMs + staleGraceMs + SLACK_MS)
        assert.deepEqual(heard.ended, [], 'a session that nobody can tell about has not ended')
        await bringBack()
        await whileUsing(authority, uuid, () => authority.stalenessMs <= staleGraceMs, 10_000)
        assert.ok(await findsAgain(authority, known))
        assert.ok(await findsAgain(authority, unknown))
      })

      test(`${how}: a session that ended meanwhile is out before it is vouched for again`, async (t) => {
        const { authority, signIn, takeAway, bringBack, endElsewhere } = await start(t)
        const heard = new Heard(authority)
        const [ending, staying] = [await signIn('olga'), await signIn('olga')]
        const { uuid } = await foundIn(authority, ending)
        await foundIn(authority, staying)
        await takeAway(how)
        await whileUsing(authority, uuid, () => authority.stalenessMs > staleGraceMs || heard.isOut(uuid), 10_000)
        await bringBack()
        await endElsewhere(ending)
        await whileUsing(authority, uuid, () => authority.stalenessMs <= staleGraceMs && heard.isOut(uuid), 10_000)
        assert.equal(await findsAgain(authority, ending), undefined)
        assert.ok(await findsAgain(authority, staying))
      })
    }
  })
}

/** Asks until somebody can tell. */
async function findsAgain(authority: SessionAuthority, id: string): Promise<Session | undefined> {
  const lastMs = performance.now() + 10_000
  for (;;) {
    try {
      return await authority.find(id)
    } catch (error) {
      if (!(error instanceof AuthorityUnavailableError) || performance.now() > lastMs) throw error
      await pause(STEP_MS)
    }
  }
}
