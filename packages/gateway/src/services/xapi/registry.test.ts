import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'

import { freshDirectory, localSettings, standInOf } from '../../sessions/xapi/testing/start.ts'
import { XapiClient } from '../../xapi/client.ts'
import type { XapiSettings } from '../../xapi/address.ts'
import type { StandIn } from '../../xapi/testing/stand-in/start.ts'
import { Whereabouts } from '../whereabouts.ts'
import { XAPI_TIMES, XapiRegistry } from './registry.ts'

const SERVICE = 'com.example.backup'

interface Started {
  readonly registry: XapiRegistry
  readonly whereIs: () => string | undefined
  readonly problems: string[]
  /** References of this host, as they were told. */
  readonly ownRefs: string[]
}

function start(t: TestContext, settings: XapiSettings, name: string, origin = `https://${name}.example`): Started {
  const problems: string[] = []
  const ownRefs: string[] = []
  const registry = new XapiRegistry({
    client: new XapiClient(settings),
    own: { name, origin },
    report: (error) => problems.push(String(error)),
    ownHostKnown: (ref) => ownRefs.push(ref),
    times: XAPI_TIMES,
  })
  const table = new Whereabouts()
  registry.onChanged((changes) => table.take(changes))
  registry.start()
  t.after(() => registry.close())
  return { registry, whereIs: () => table.whereIs(SERVICE, 'session'), problems, ownRefs }
}

async function poolOf(t: TestContext): Promise<StandIn> {
  const standIn = await standInOf(t)
  for (const hostname of ['host-a', 'host-b']) {
    await standIn.order({ order: 'add-host', hostname, address: '127.0.0.1' })
  }
  return standIn
}

async function otherConfig(standIn: StandIn, hostname: string): Promise<Record<string, string>> {
  const record = (await standIn.order({ order: 'host', hostname })) as { other_config: Record<string, string> }
  return record.other_config
}

async function until(isTrue: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const lastMs = performance.now() + 15_000
  while (!(await isTrue())) {
    assert.ok(performance.now() < lastMs, `waited until ${what}`)
    await pause(5)
  }
}

describe('registry xapi', { timeout: 300_000 }, () => {
  test('announces under its key, and leaves the others alone', async (t) => {
    const standIn = await poolOf(t)
    await standIn.order({ order: 'set-other-config', hostname: 'host-a', key: 'iscsi_iqn', value: 'iqn.x' })
    const { registry } = start(t, localSettings(standIn), 'host-a')
    registry.announce([SERVICE])
    await until(
      async () => (await otherConfig(standIn, 'host-a'))['xengate:services']?.includes(SERVICE) === true,
      'it is said',
    )
    const { iscsi_iqn: other, 'xengate:services': text = '' } = await otherConfig(standIn, 'host-a')
    assert.equal(other, 'iqn.x')
    const said = JSON.parse(text) as { address: string; services: string[] }
    assert.deepEqual([said.address, said.services], ['https://host-a.example', [SERVICE]])
    await registry.close()
    const after = JSON.parse((await otherConfig(standIn, 'host-a'))['xengate:services'] ?? '') as typeof said
    assert.deepEqual(after.services, [])
  })

  test('a key that is missing for a moment, as when it is written anew, changes nothing; for longer it does', async (t) => {
    const standIn = await poolOf(t)
    const [a, b] = [start(t, localSettings(standIn), 'host-a'), start(t, localSettings(standIn), 'host-b')]
    b.registry.announce([SERVICE])
    await until(() => a.whereIs() === 'https://host-b.example', 'it is on B')
    const key = 'xengate:services'
    const value = (await otherConfig(standIn, 'host-b'))[key] ?? ''
    await standIn.order({ order: 'set-other-config', hostname: 'host-b', key, value: null })
    const endMs = performance.now() + 1000
    while (performance.now() < endMs) {
      assert.equal(a.whereIs(), 'https://host-b.example')
      await pause(20)
    }
    await standIn.order({ order: 'set-other-config', hostname: 'host-b', key, value })
    await pause(1500)
    assert.equal(a.whereIs(), 'https://host-b.example')
    await standIn.order({ order: 'set-other-config', hostname: 'host-b', key, value: null })
    await until(() => a.whereIs() === undefined, 'B is forgotten')
  })

  test('says that xapi has no host of this name, and which it has', async (t) => {
    const standIn = await poolOf(t)
    const { problems } = start(t, localSettings(standIn), 'host-x')
    await until(() => problems.length > 0, 'it is said')
    assert.match(problems.join('\n'), /xapi has no host "host-x"; set pool\.host to one of host-a, host-b$/)
  })

  test('a host that has another reference, as one that has joined another pool, says so and announces again', async (t) => {
    const standIn = await poolOf(t)
    const { registry, ownRefs } = start(t, localSettings(standIn), 'host-a')
    registry.announce([SERVICE])
    const isSaid = async (): Promise<boolean> => {
      return (await otherConfig(standIn, 'host-a'))['xengate:services']?.includes(SERVICE) === true
    }
    await until(isSaid, 'it is said')
    await standIn.order({ order: 'remove-host', hostname: 'host-a' })
    await standIn.order({ order: 'add-host', hostname: 'host-a', address: '127.0.0.1' })
    await until(() => ownRefs.length === 2, 'the other reference is known')
    assert.notEqual(ownRefs[0], ownRefs[1])
    await until(isSaid, 'it is said again')
  })

  test('finds this host by its address, too, and an IPv6 address has no brackets there', async (t) => {
    const standIn = await poolOf(t)
    await standIn.order({ order: 'add-host', hostname: 'host-c', address: 'fd00::1' })
    const { registry } = start(t, localSettings(standIn), 'another-name', 'https://[fd00::1]:8443')
    registry.announce([SERVICE])
    const announced = async (): Promise<boolean> => {
      return (await otherConfig(standIn, 'host-c'))['xengate:services']?.includes(SERVICE) === true
    }
    await until(announced, 'it is said')
  })

  test('follows another coordinator, and reads all again after lost events and a restart', async (t) => {
    const standIn = await poolOf(t)
    const passwordFile = join(freshDirectory(t), 'password')
    writeFileSync(passwordFile, 'root-pw')
    const settings = { ...localSettings(standIn), caFile: standIn.certificateFile, passwordFile }
    const [a, b] = [start(t, settings, 'host-a'), start(t, settings, 'host-b')]
    b.registry.announce([SERVICE])
    await until(() => a.whereIs() === 'https://host-b.example', 'it is on B')
    await standIn.fault({ kind: 'member', address: new URL(standIn.url).host })
    await standIn.order({ order: 'restart' })
    b.registry.announce([])
    await until(() => a.whereIs() === undefined, 'the coordinator says that it is nowhere')
    await standIn.order({ order: 'lose-events' })
    b.registry.announce([SERVICE])
    await until(() => a.whereIs() === 'https://host-b.example', 'it is on B again')
    await standIn.order({ order: 'remove-host', hostname: 'host-b' })
    await until(() => a.whereIs() === undefined, 'a host that has left the pool is forgotten')
  })
})
