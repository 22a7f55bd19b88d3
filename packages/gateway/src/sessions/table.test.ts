import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Session } from '../model/session.ts'
import { SessionTable } from './table.ts'

const SESSION: Session = {
  uuid: 'u',
  user: 'root',
  subject: 'OpaqueRef:NULL',
  roles: ['pool-admin'],
  originator: '',
  isLocalSuperuser: true,
}

function table(): { table: SessionTable; asked: string[]; ended: string[] } {
  const asked: string[] = []
  const ended: string[] = []
  return {
    table: new SessionTable(
      (id) => asked.push(id),
      (uuids) => ended.push(...uuids),
      () => {},
      { idleTimeoutMs: 60_000, tellIntervalMs: 1000, silenceMs: 60_000 },
    ),
    asked,
    ended,
  }
}

test('a session that was not used here for the idle timeout is asked for again', () => {
  const { table: sessions } = table()
  sessions.question('id', '', () => {})
  sessions.answered('id', SESSION, 0)
  const entry = sessions.find('id', 59_999)
  assert.ok(entry)
  sessions.touch(entry, 59_999)
  assert.equal(sessions.find('id', 119_998), entry)
  assert.equal(sessions.find('id', 119_999), undefined)
})

test('activity is told once in the interval, and the last of it is told too', () => {
  const { table: sessions } = table()
  sessions.question('id', '', () => {})
  sessions.answered('id', SESSION, 0)
  const entry = sessions.find('id', 0)
  assert.ok(entry)
  sessions.touch(entry, 10)
  assert.deepEqual(sessions.takeTouched(500), [])
  assert.deepEqual(sessions.takeTouched(1000), ['u'])
  assert.deepEqual(sessions.takeTouched(3000), [])
  sessions.touch(entry, 3001)
  sessions.touch(entry, 3002)
  assert.deepEqual(sessions.takeTouched(3003), ['u'])
})

test('of very many sessions a part is told at one time, in turn, and all of them in time', () => {
  const { table: sessions } = table()
  const count = 2200
  for (let index = 0; index < count; index++) {
    sessions.question(`id${index}`, '', () => {})
    sessions.answered(`id${index}`, { ...SESSION, uuid: `u${index}` }, 0)
    const entry = sessions.find(`id${index}`, 0)
    assert.ok(entry)
    sessions.touch(entry, 1)
  }
  const told = new Set<string>()
  for (let time = 1; time <= 5; time++) {
    const uuids = sessions.takeTouched(1000 * time)
    assert.ok(uuids.length <= 500)
    for (const uuid of uuids) told.add(uuid)
  }
  assert.equal(told.size, count)
  assert.equal(sessions.hasNoted, false)
})

test('an ending reaches who holds the session, and is told even of a session that the table does not have', () => {
  const { table: sessions, ended } = table()
  sessions.question('id', '', () => {})
  sessions.answered('id', SESSION, 0)
  const entry = sessions.find('id', 0)
  sessions.ended(['u', 'unknown'])
  assert.equal(entry?.state, 'ended')
  assert.equal(sessions.find('id', 0), undefined)
  assert.deepEqual(ended, ['u', 'unknown'])
})

test('a session that nobody used is asked for again, and what was begun with it goes on', () => {
  const { table: sessions, ended } = table()
  sessions.question('id', '', () => {})
  sessions.answered('id', SESSION, 0)
  const entry = sessions.find('id', 0)
  sessions.forget(['u', 'unknown'], true)
  assert.equal(sessions.find('id', 0), undefined)
  assert.deepEqual([entry?.state, ended], ['live', []])
})

test('questions are asked once for each id, and are bounded', () => {
  const { table: sessions, asked } = table()
  const kinds: string[] = []
  for (let count = 0; count < 1001; count++)
    sessions.question(`id${count}`, String(count), (answer) =>
      kinds.push(typeof answer === 'string' ? answer : 'session'),
    )
  assert.deepEqual(kinds, ['busy'])
  sessions.question('id0', '', (answer) => kinds.push(typeof answer === 'string' ? answer : 'session'))
  assert.equal(asked.length, 1000)
  sessions.answered('id0', null, 0)
  assert.deepEqual(kinds, ['busy', 'nobody', 'nobody'])
})

test('under a session that nobody vouches for, or that is not kept here any more, nothing more begins', () => {
  const { table: sessions, ended } = table()
  for (const [id, drop] of [
    ['doubtful', () => sessions.forget(['u'], false)],
    ['idle', () => sessions.find('idle', 60_000)],
  ] as const) {
    sessions.question(id, '', () => {})
    sessions.answered(id, SESSION, 0)
    const entry = sessions.find(id, 0)
    drop()
    assert.deepEqual([entry?.state, sessions.find(id, 0), ended], ['forgotten', undefined, []])
  }
})

test('a client that asks about many ids leaves places to others', () => {
  const { table: sessions, asked } = table()
  for (let count = 0; count < 2000; count++) sessions.question(`id${count}`, '192.0.2.1', () => {})
  assert.equal(asked.length, 500)
  for (let count = 0; count < 200; count++) sessions.question(`other${count}`, '192.0.2.2', () => {})
  assert.equal(asked.length, 625)
})
