// xengate host save and restore: the configuration in the pool's record in xapi, for which a stand-in is there.

import assert from 'node:assert/strict'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { restore, save } from '../packages/gateway/src/cli/commands/host.ts'
import { loadConfig } from '../packages/gateway/src/config/load.ts'
import { type StandIn, startXapi } from './harness/backends.ts'
import { run } from './harness/child.ts'
import { Dom0, HOST_UUID } from './harness/dom0.ts'
import { type Scope, scopeOfSuite } from './harness/scope.ts'

const DEADLINE = { timeout: 60_000 }

/** What members of a pool have for the pool's record. */
const XE = `#!/bin/sh
echo "xe $*" >>"$ROOT/xe"
case "$*" in
  "pool-list params=uuid --minimal") echo the-pool ;;
  "pool-param-get uuid=the-pool param-name=other-config") cat "$ROOT/other-config" ;;
  "pool-param-set uuid=the-pool other-config:"*) echo "hosts: x; \${3#other-config:}" | sed 's/=/: /' >"$ROOT/other-config" ;;
  *) echo "Error: unknown" >&2; exit 1 ;;
esac`

describe('host save and restore', () => {
  const scope = scopeOfSuite()
  let dom0: Dom0
  let standIn: StandIn
  const ask = (method: string, ...params: string[]): Promise<unknown> => callXapi(scope, standIn, method, params)
  const saved = async (): Promise<Record<string, string>> => {
    const [pool = ''] = (await ask('pool.get_all')) as string[]
    return (await ask('pool.get_other_config', pool)) as Record<string, string>
  }
  const command = (work: typeof save | typeof restore, options: object): ReturnType<Dom0['command']> =>
    dom0.command((io, host) => work(options, io, host))

  test('what was saved comes back without comments, in place of nothing or by --force alone', DEADLINE, async () => {
    standIn = await startXapi(scope)
    dom0 = await Dom0.make(scope, '127.0.0.1:', standIn.socketPath)
    const { config } = dom0.host
    const tls = `[[listen]]\naddress = "127.0.0.1:8443"\ntls = { certificate = "/no/such.pem", key = "/no/such.pem" }\n`
    dom0.writeConfig('', `# the vendor's ticket is 4711\n${tls}`)
    const { input } = await loadConfig(config)
    const keeping = await command(save, {})
    assert.equal(keeping.code, 0, keeping.stderr)
    assert.match(keeping.stderr, /^kept .*, without its comments\nnot kept: \/no\/such\.pem$/m)
    assert.deepEqual(Object.keys(await saved()), [`xengate-config-${HOST_UUID}`])

    const there = await command(restore, {})
    assert.deepEqual([there.code, /\[config-there\]\ntry: say --force/.test(there.stderr)], [1, true])
    // As after an upgrade by ISO: nothing is left.
    rmSync(dirname(config), { recursive: true })
    const back = await command(restore, {})
    assert.equal(back.code, 0, back.stderr)
    assert.match(back.stderr, /^missing: \/no\/such\.pem, /m)
    const text = readFileSync(config, 'utf8')
    assert.ok(!text.includes('4711'))
    assert.deepEqual((await loadConfig(config)).input, input)
    assert.equal(statSync(config).mode & 0o777, 0o640)
    writeFileSync(config, '# as the package brings it\n')
    assert.equal((await command(restore, { force: true })).code, 0)
    assert.equal(readFileSync(config, 'utf8'), text)
  })

  test("a host's own goes before the pool's, which every other host gets", DEADLINE, async () => {
    const own = readFileSync(dom0.host.config, 'utf8')
    dom0.writeConfig('', '[host]\nalert-after = "31s"\n')
    const { input: pools } = await loadConfig(dom0.host.config)
    assert.equal((await command(save, { pool: true })).code, 0)
    assert.equal((await command(restore, { force: true })).code, 0)
    assert.equal(readFileSync(dom0.host.config, 'utf8'), own)
    const inventory = readFileSync(dom0.host.inventory, 'utf8')
    writeFileSync(dom0.host.inventory, inventory.replace(HOST_UUID, '99999999-2222-3333-4444-555555555555'))
    assert.equal((await command(restore, { force: true })).code, 0)
    assert.deepEqual((await loadConfig(dom0.host.config)).input, pools)
    writeFileSync(dom0.host.inventory, inventory)
  })

  test('a save that breaks off leaves what was kept before, or what is new', DEADLINE, async () => {
    const { config } = dom0.host
    const seconds = (): string => /^alert-after = "(\d+)s"$/m.exec(readFileSync(config, 'utf8'))?.[1] ?? ''
    let kept = '20'
    dom0.writeConfig('', `[host]\nalert-after = "${kept}s"\n`)
    assert.equal((await command(save, {})).code, 0)
    let isBroken = true
    for (let changes = 0; isBroken; changes++) {
      const wanted = String(21 + changes)
      dom0.writeConfig('', `[host]\nalert-after = "${wanted}s"\n`)
      await standIn.fault({ kind: 'break-off', changes })
      const saving = await command(save, {})
      await standIn.fault({ kind: 'none' })
      isBroken = saving.code !== 0
      if (isBroken) assert.match(saving.stderr, /what was kept before, or .*\[save-failed\]/)
      const back = await command(restore, { force: true })
      assert.equal(back.code, 0, `after ${changes} changes: ${back.stderr}`)
      assert.ok(seconds() === wanted || (isBroken && seconds() === kept), `${seconds()} after ${changes} changes`)
      kept = seconds()
    }
    assert.deepEqual(Object.keys(await saved()).toSorted(), [`xengate-config`, `xengate-config-${HOST_UUID}`])
  })

  test('passwords do not leave the host, nor does what is too large', DEADLINE, async () => {
    const before = await saved()
    const path = Array.from({ length: 1000 }, () => crypto.randomUUID()).join('/')
    for (const [more, code] of [
      ['[valkey]\nurl = "redis://:topsecret@127.0.0.1:6379"', 'config-secret'],
      ['[valkey]\nurl = "redis+sentinel://:topsecret@a:1,b:2/main"', 'config-secret'],
      [`[valkey]\npassword-file = "/${path}"`, 'config-large'],
    ] as const) {
      dom0.writeConfig('', more)
      const refused = await command(save, {})
      assert.equal(refused.code, 1)
      assert.ok(refused.stderr.includes(`[${code}]`), refused.stderr)
      assert.ok(!refused.stderr.includes('topsecret'))
    }
    dom0.writeConfig('', 'nonsense = 1')
    assert.match((await command(save, {})).stderr, /\[config-invalid\]/)
    assert.deepEqual(await saved(), before)
  })

  test('nothing is written that is not a configuration', DEADLINE, async () => {
    const [pool = ''] = (await ask('pool.get_all')) as string[]
    const key = `xengate-config-${HOST_UUID}`
    const there = readFileSync(dom0.host.config, 'utf8')
    for (const [value, code] of [
      ['no base64 of gzip', 'saved-unreadable'],
      [gzipSync(Buffer.alloc(2_000_000)).toString('base64url'), 'saved-unreadable'],
      [gzipSync('nonsense = 1').toString('base64url'), 'config-invalid'],
    ] as const) {
      await ask('pool.remove_from_other_config', pool, key)
      await ask('pool.add_to_other_config', pool, key, value)
      const refused = await command(restore, { force: true })
      assert.equal(refused.code, 1)
      assert.ok(refused.stderr.includes(`[${code}]`), refused.stderr)
      assert.equal(readFileSync(dom0.host.config, 'utf8'), there)
    }
    for (const one of [key, 'xengate-config']) await ask('pool.remove_from_other_config', pool, one)
    assert.match((await command(restore, { force: true })).stderr, /the pool has neither .*\[saved-missing\]/)
    await standIn.order({ order: 'close' })
    assert.match((await command(restore, { force: true })).stderr, /\[xapi-unavailable\]/)
    await standIn.order({ order: 'open' })
  })

  test('a member of a pool asks xe, which goes to the coordinator', DEADLINE, async () => {
    dom0.install('xe', XE)
    await standIn.fault({ kind: 'member', address: '192.0.2.1' })
    writeFileSync(join(dom0.host.root, 'other-config'), 'hosts: x\n')
    dom0.writeConfig('', '[host]\nalert-after = "32s"\n')
    const { input } = await loadConfig(dom0.host.config)
    const kept = await command(save, {})
    assert.equal(kept.code, 0, kept.stderr)
    rmSync(dom0.host.config)
    assert.equal((await command(restore, {})).code, 0)
    assert.deepEqual((await loadConfig(dom0.host.config)).input, input)
    assert.match(dom0.text('xe'), /^xe pool-param-set uuid=the-pool other-config:xengate-config-/m)
    await standIn.fault({ kind: 'none' })
  })
})

/** Calls the stand-in by its socket, as root does on a host. */
async function callXapi(scope: Scope, standIn: StandIn, method: string, params: readonly string[]): Promise<unknown> {
  const session = await standIn.login('root')
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: [session, ...params] })
  const argv = ['-sS', '--unix-socket', standIn.socketPath, '-d', body, 'http://xapi/jsonrpc']
  const { stdout, stderr } = await run(scope, 'curl', argv)
  const { result, error } = JSON.parse(stdout) as { result?: unknown; error?: unknown }
  assert.equal(error, undefined, stderr)
  return result
}
