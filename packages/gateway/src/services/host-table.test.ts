import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'

import { type Announcement, formatAnnouncement, parseAnnouncement } from './announcement.ts'
import { HostTable } from './host-table.ts'
import { Whereabouts } from './whereabouts.ts'

const SERVICES = ['s', 't']

/** A host, with what it knows of the others, and what it has said that they have not heard yet. */
class Host {
  readonly name: string
  readonly whereabouts: Whereabouts = new Whereabouts()
  readonly table: HostTable
  running: readonly string[] = []
  readonly said: Announcement[] = []

  constructor(name: string) {
    this.name = name
    this.table = new HostTable({ host: name, origin: `http://${name}` }, (changes) => this.whereabouts.take(changes))
  }

  run(names: readonly string[]): void {
    this.running = names
    if (this.table.announce(names)) this.said.push(this.table.announced)
  }

  hear(announcement: Announcement): void {
    if (this.table.take(announcement)) this.said.push(this.table.announced)
  }
}

/** Follows redirects for a service; answers the hosts passed. A host with the service answers; so does one that knows no other. */
function follow(hosts: readonly Host[], from: Host, service: string): string[] {
  const path = [from.name]
  for (let at = from; !at.running.includes(service);) {
    const origin = at.whereabouts.whereIs(service, 'session')
    const next = hosts.find(({ name }) => origin === `http://${name}`)
    if (next === undefined) break
    path.push(next.name)
    if (path.length > 2 * hosts.length) break
    at = next
  }
  return path
}

/** The state of a pool after any steps: hosts start and stop services, and hear of what others said, late, in any order. */
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('run' as const), host: fc.nat(3), names: fc.subarray(SERVICES) }),
    fc.record({ kind: fc.constant('hear' as const), host: fc.nat(3), from: fc.nat(3), which: fc.nat(20) }),
    fc.record({ kind: fc.constant('forget' as const), host: fc.nat(3), from: fc.nat(3) }),
  ),
  { minLength: 10, maxLength: 60, size: 'max' },
)

describe('table of hosts', { timeout: 300_000 }, () => {
  test('sends no client in a circle, however old what hosts know of each other is', () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const hosts = ['a', 'b', 'c', 'd'].map((name) => new Host(name))
        for (const step of taken) {
          const host = hosts[step.host]
          if (host === undefined) continue
          if (step.kind === 'run') host.run(step.names)
          else if (step.kind === 'forget') host.table.forget([hosts[step.from]?.name ?? ''])
          else {
            const said = hosts[step.from]?.said ?? []
            const heard = said[step.which % Math.max(1, said.length)]
            // Any of them, also one that is older than what has been heard.
            if (heard !== undefined && step.from !== step.host) host.hear(heard)
          }
          for (const service of SERVICES) {
            for (const from of hosts) {
              const path = follow(hosts, from, service)
              assert.equal(new Set(path).size, path.length, `${service}: ${path.join(' → ')}`)
            }
          }
        }
      }),
      { numRuns: 500 },
    )
  })

  test('leads to a service when everything has been heard', () => {
    fc.assert(
      fc.property(steps, (taken) => {
        const hosts = ['a', 'b', 'c', 'd'].map((name) => new Host(name))
        for (const step of taken) if (step.kind === 'run') hosts[step.host]?.run(step.names)
        // Saying again is said at most once by each host for each of the others' announcements.
        for (let round = 0; round < 10; round++) {
          for (const host of hosts) for (const from of hosts) if (from !== host) host.hear(from.table.announced)
        }
        for (const service of SERVICES) {
          const isAnywhere = hosts.some(({ running }) => running.includes(service))
          for (const from of hosts) {
            const last = follow(hosts, from, service).at(-1)
            const isThere = hosts.find(({ name }) => name === last)?.running.includes(service) === true
            assert.equal(isThere, isAnywhere, `${service} from ${from.name}`)
          }
        }
      }),
      { numRuns: 500 },
    )
  })

  test('a host that was started again remembers by its own announcement what it had', () => {
    const [a, b] = [new Host('a'), new Host('b')]
    a.run(['s'])
    b.hear(a.table.announced)
    b.run(['s'])
    b.run([])
    // B has not been heard of: A believes nothing of it, and B sends clients to nobody whose announcement is older.
    assert.deepEqual(follow([a, b], b, 's'), ['b'])
    a.hear(b.table.announced)
    b.hear(a.table.announced)
    assert.deepEqual(follow([a, b], b, 's'), ['b', 'a'])
    const again = new Host('b')
    assert.equal(again.table.take(b.table.announced), true)
    assert.ok(again.table.announced.stamp > b.table.announced.stamp)
    assert.deepEqual(
      again.table.announced.had.map(([name]) => name),
      ['s'],
    )
  })

  test('never names this host, one without an address, or one that has the same address', () => {
    const host = new Host('a')
    const other = { host: 'b', names: ['s'], stamp: 1, had: [] }
    host.hear({ ...other, origin: 'http://a' })
    assert.equal(host.whereabouts.whereIs('s', 'session'), undefined)
    host.hear({ ...other, origin: null, stamp: 2 })
    assert.equal(host.whereabouts.whereIs('s', 'session'), undefined)
    host.hear({ ...other, origin: 'http://b', stamp: 3 })
    assert.equal(host.whereabouts.whereIs('s', 'session'), 'http://b')
  })
})

test('what one host says costs what it says, however many others there are', { timeout: 60_000 }, () => {
  let told = 0
  const table = new HostTable({ host: 'own', origin: 'http://own' }, (changes) => (told += changes.length))
  const names = Array.from({ length: 10 }, (_, service) => `s${service}`)
  // Looking at everything for each of them takes several minutes.
  for (let number = 0; number < 9000; number++) {
    const [host, own] = [`h${number}`, names.map((name) => `${name}-${number}`)]
    assert.equal(table.take({ host, origin: `http://${host}`, names: own, stamp: 1, had: [] }), false)
  }
  assert.equal(told, 90_000)
  table.keepOnly(new Set(['h1']))
  assert.equal(told, 90_000 + 89_990)
})

describe('announcement', { timeout: 300_000 }, () => {
  test('is read as it was written', () => {
    const announcement: Announcement = {
      host: 'a',
      origin: 'https://a:8443',
      names: ['com.example.a', '__proto__'],
      stamp: 7,
      had: [['com.example.b', 3]],
    }
    assert.deepEqual(parseAnnouncement('a', formatAnnouncement(announcement)), announcement)
  })

  test('of somebody who means no good is left alone', () => {
    const texts = [
      '',
      'null',
      '[]',
      '{',
      '{"v":2}',
      '{"v":1,"stamp":-1,"services":[]}',
      '{"v":1,"stamp":1,"services":"x"}',
    ]
    for (const text of texts) assert.equal(parseAnnouncement('a', text), undefined, text)
    const odd = JSON.stringify({
      v: 1,
      stamp: 1,
      address: 'https://a/path?x',
      services: ['ok', '../etc', 1, 'x.channel'],
      had: [['ok', 1], ['bad name', 1], 3, ['ok', 'x']],
    })
    assert.deepEqual(parseAnnouncement('a', odd), {
      host: 'a',
      origin: null,
      names: ['ok'],
      stamp: 1,
      had: [['ok', 1]],
    })
    const many = Array.from({ length: 1001 }, (_, index) => `s${index}`)
    assert.equal(parseAnnouncement('a', JSON.stringify({ v: 1, stamp: 1, services: many })), undefined)
  })
})
