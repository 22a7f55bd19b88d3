// Xengate before xapi at stunnel's port: a real stunnel, a real daemon, and a program in the place of systemctl that runs what
// the unit and its drop-ins say.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { disable, enable, status } from '../packages/gateway/src/cli/commands/front.ts'
import { type StandIn, startXapi } from './harness/backends.ts'
import { type Daemon, Place } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { Dom0 } from './harness/dom0.ts'
import { type Scope, scopeOf } from './harness/scope.ts'

const DEADLINE = { timeout: 120_000 }

const SERVICE = '/services/plugin/com.example.any'

interface Fronted {
  readonly dom0: Dom0
  readonly place: Place
  readonly daemon: Daemon
  readonly standIn: StandIn
}

/** A host whose gateway is ready to be put before xapi. */
async function readyHost(scope: Scope, accept: string): Promise<Fronted> {
  const standIn = await startXapi(scope)
  const dom0 = await Dom0.make(scope, accept, standIn.socketPath)
  await dom0.startStunnel()
  const { frontSocket, xapiPort } = dom0.host
  const tables = `[sessions]\nauthority = "xapi"\n[sessions.xapi]\nurl = "unix:${standIn.socketPath}"
[front]\nupstream = "http://127.0.0.1:${xapiPort}"\nproxy-protocol = true\n`
  const listen = [{ address: `unix:${frontSocket}`, keys: 'proxy-protocol = true' }]
  const place = await Place.make(scope, { listen, tables })
  dom0.useConfig(place.configuration)
  return { dom0, place, daemon: await place.start(), standIn }
}

const run = (dom0: Dom0, command: typeof enable, options: Parameters<typeof enable>[0] = {}) =>
  dom0.command((io, host) => command(options, io, host))

/** A reload of stunnel takes a moment, in which connections are reset. */
async function untilXapi(dom0: Dom0): Promise<void> {
  await until(async () => (await dom0.ask(SERVICE).catch(() => null))?.body === 'xapi', 'xapi to answer')
}

for (const [form, accept, stunnelSays] of [
  ['IPv6', ':::', 'TCP6 ::ffff:127.0.0.1'],
  ['IPv4', '', 'TCP4 127.0.0.1'],
] as const) {
  test(
    `enabled (${form}), Xengate answers for services and xapi for the rest; without it, xapi for all`,
    DEADLINE,
    async (t) => {
      const { dom0, place, daemon } = await readyHost(scopeOf(t), accept)
      const before = await dom0.ask(SERVICE)
      assert.deepEqual([before.status, before.body], [200, 'xapi'])
      assert.ok(before.proxy.startsWith(`PROXY ${stunnelSays} `), before.proxy)

      const enabled = await run(dom0, enable)
      assert.equal(enabled.code, 0, enabled.stderr)
      assert.match(enabled.stderr, /restarting stunnel@xapi: .*\n.*the front is on.*\n.*xengate front disable/)
      assert.equal((await dom0.ask(SERVICE)).status, 403)
      const page = await dom0.ask('/')
      assert.deepEqual([page.status, page.body], [200, 'xapi'])
      assert.match(page.proxy, /^PROXY TCP6 ::ffff:127\.0\.0\.1 ::ffff:127\.0\.0\.1 \d+ \d+$/)
      // Hosts of the pool go past Xengate.
      assert.equal((await dom0.ask(SERVICE, 'pool')).body, 'xapi')
      const on = await run(dom0, status)
      assert.equal(on.code, 0, on.stdout)
      assert.match(on.stdout, /enable would: change nothing\n.*disable would: remove /)

      const again = await run(dom0, enable)
      assert.deepEqual([again.code, again.stderr.includes('nothing to do')], [0, true])

      daemon.child.signal('SIGKILL')
      await once(daemon.child.process, 'exit')
      await untilXapi(dom0)
      const down = await run(dom0, status)
      assert.equal(down.code, 1)
      assert.match(down.stdout, /bad +gateway +does not answer at .*\n +try: systemctl start xengate/)

      await place.start()
      assert.equal((await dom0.ask(SERVICE)).status, 403)

      assert.equal((await run(dom0, disable)).code, 0)
      assert.equal((await dom0.ask(SERVICE)).body, 'xapi')
      for (const path of [dom0.host.dropIn, dom0.host.deriveScript, dom0.host.stunnelDerived]) {
        assert.ok(!existsSync(path), path)
      }
      const off = await run(dom0, disable)
      assert.deepEqual([off.code, off.stderr.includes('nothing to do')], [0, true])
    },
  )
}

test(
  'what xapi writes anew counts at the next start and reload, and a doubt leaves clients to xapi',
  DEADLINE,
  async (t) => {
    const { dom0 } = await readyHost(scopeOf(t), '127.0.0.1:')
    assert.equal((await run(dom0, enable)).code, 0)

    // xapi's own clients, at a reload.
    dom0.writeOwn({ clientName: 'client' })
    await dom0.systemctl('reload')
    assert.match(dom0.text('journal'), /xengate: stunnel gets xapi's own file, .*clients sign in with certificates/)
    const doubted = await run(dom0, status)
    assert.equal(doubted.code, 1)
    assert.match(doubted.stdout, /bad +derived file +is xapi's own: .*clients sign in with certificates/)
    // With a redirect, whoever has no certificate gets to xapi.
    await untilXapi(dom0)

    // Back, at a restart, as xapi does after writing it.
    dom0.writeOwn()
    await dom0.systemctl('restart')
    assert.equal((await dom0.ask(SERVICE)).status, 403)

    // Without the script, which a removed package would have taken along.
    rmSync(dom0.host.deriveScript)
    await dom0.systemctl('reload')
    await untilXapi(dom0)
    await dom0.systemctl('restart')
    assert.equal((await dom0.ask(SERVICE)).body, 'xapi')

    // All of it can be put right, and taken back although the configuration is broken and the derived file cannot be used.
    assert.equal((await run(dom0, enable)).code, 0)
    assert.equal((await dom0.ask(SERVICE)).status, 403)
    writeFileSync(dom0.host.config, 'nonsense')
    writeFileSync(dom0.host.stunnelDerived, 'nonsense')
    assert.equal((await run(dom0, disable)).code, 0)
    assert.equal((await dom0.ask(SERVICE)).body, 'xapi')
  },
)

test('enable changes nothing when it cannot work, and says why', DEADLINE, async (t) => {
  const { dom0, place, daemon, standIn } = await readyHost(scopeOf(t), '127.0.0.1:')
  const refused = async (reason: RegExp): Promise<void> => {
    const { code, stderr } = await run(dom0, enable)
    assert.equal(code, 1, stderr)
    assert.match(stderr, reason)
    assert.deepEqual([existsSync(dom0.host.dropIn), existsSync(dom0.host.deriveScript)], [false, false])
  }

  await standIn.order({ order: 'set-ha', on: true })
  await refused(/High availability \(HA\) is on[^]*say --yes to go on \[not-confirmed\]/)
  await standIn.order({ order: 'close' })
  await refused(/does not say whether high availability[^]*\[not-confirmed\]/)
  await standIn.order({ order: 'open' })

  dom0.writeOwn({ clientName: 'client' })
  await refused(/clients sign in with certificates .*\[front-not-possible\]/)
  dom0.writeOwn()

  writeFileSync(dom0.host.config, '[[listen]]\naddress = "127.0.0.1:8080"\n')
  await refused(/has no \[front\][^]*\[\[listen\]\]\n +address = "unix:[^]*\[front-not-possible\]/)
  dom0.useConfig(place.configuration)

  // Stunnel does not start with it: what was there before is put back.
  writeFileSync(join(dom0.host.root, 'no-start'), '')
  const failed = await run(dom0, enable, { yes: true })
  assert.equal(failed.code, 1)
  assert.match(failed.stderr, /taking it back\n.*Job for stunnel@xapi\.service failed\.\n.*\[front-failed\]/)
  assert.ok(!existsSync(dom0.host.dropIn))
  rmSync(join(dom0.host.root, 'no-start'))

  await daemon.stop()
  await refused(/gateway +does not answer at .*\n.*systemctl start xengate[^]*\[front-not-possible\]/)
  assert.deepEqual(readdirSync(join(dom0.host.root, 'etc/systemd/system/stunnel@xapi.service.d')), [])
  await place.start()
  const enabled = await run(dom0, enable, { yes: true })
  assert.equal(enabled.code, 0, enabled.stderr)
})

test('disable that did not get through is repeated until stunnel leads to xapi alone', DEADLINE, async (t) => {
  const { dom0 } = await readyHost(scopeOf(t), '127.0.0.1:')
  assert.equal((await run(dom0, enable)).code, 0)
  const noReload = join(dom0.host.root, 'no-reload')
  writeFileSync(noReload, '')
  for (const time of ['first', 'second']) {
    const failed = await run(dom0, disable)
    assert.equal(failed.code, 1, `${time}: ${failed.stderr}`)
    assert.match(failed.stderr, /Connection timed out\n.*\[front-failed\]/)
  }
  // stunnel reads it again when it is told to reload.
  assert.ok(existsSync(dom0.host.stunnelDerived))
  const between = await run(dom0, status)
  assert.match(between.stdout, /^bad +stunnel +runs with the derived file, .*\n +try: xengate front disable$/m)
  assert.match(between.stdout, /disable would: restart stunnel@xapi/)
  rmSync(noReload)
  assert.equal((await run(dom0, disable)).code, 0)
  assert.equal((await dom0.ask(SERVICE)).body, 'xapi')
  assert.ok(!existsSync(dom0.host.stunnelDerived))
  assert.match((await run(dom0, disable)).stderr, /nothing to do/)
})
