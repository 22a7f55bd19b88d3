// xengate host: what it says of a host, and what it does to its firewall. The host is below a directory, with programs of its own
// where Debian has none of a host's.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { check, close, open } from '../packages/gateway/src/cli/commands/host.ts'
import { type StandIn, startXapi } from './harness/backends.ts'
import { run } from './harness/child.ts'
import { Dom0, HOST_UUID } from './harness/dom0.ts'
import { type Scope, scopeOfSuite } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const DEADLINE = { timeout: 60_000 }
const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root: commands become the user of the workers'

/** Debian has it, and nothing of this test is its. */
const WORKER_USER = 'nobody'
const SERVICE = 'com.example.sensors'

interface Finding {
  readonly subject: string
  readonly verdict: string
  readonly text: string
  readonly remedy?: string
}

/** A host, and the gateway's configuration on it. */
function configure(dom0: Dom0, tables = ''): void {
  dom0.writeConfig(`worker-user = "${WORKER_USER}"`, tables)
}

/** What `host check --json` says of `subject`. */
async function findingOf(dom0: Dom0, subject: string): Promise<Finding & { readonly code: number }> {
  const { code, stdout } = await dom0.command((io, host) => check({ json: true }, io, host))
  const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: Finding[] }
  assert.equal(ok, code === 0)
  assert.equal(ok, !findings.some(({ verdict }) => verdict === 'bad'))
  const of = findings.filter((finding) => finding.subject === subject)
  assert.equal(of.length, 1, stdout)
  return { code, ...(of[0] as Finding) }
}

/** Does what the finding says. @returns whether the file system could */
async function follow(scope: Scope, { remedy = '' }: Finding): Promise<boolean> {
  const command = remedy.replace(/^.*, or (setfacl .*) after each of its starts$/, '$1')
  return (await run(scope, 'sh', ['-c', command])).code === 0
}

describe('host check', { skip: NEEDS_ROOT }, () => {
  const scope = scopeOfSuite()
  let dom0: Dom0
  let standIn: StandIn

  test('says of a host where all is right what it is, and exits 0', DEADLINE, async () => {
    standIn = await startXapi(scope)
    dom0 = await Dom0.make(scope, '127.0.0.1:', standIn.socketPath)
    const { pluginDirectory } = dom0.host
    configure(dom0)
    const missing = await findingOf(dom0, 'services')
    assert.deepEqual([missing.verdict, missing.remedy], ['doubt', `mkdir -p ${pluginDirectory}`])
    assert.ok(await follow(scope, missing))
    await serveHttp(scope, join(pluginDirectory, SERVICE), (_request, response) => response.end())
    chmodSync(join(pluginDirectory, SERVICE), 0o666)

    const { code, stdout } = await dom0.command((io, host) => check({}, io, host))
    assert.equal(code, 0, stdout)
    assert.match(stdout, new RegExp(`^ok +host +XCP-ng 8\\.3\\.0 \\(.*\\), ${HOST_UUID}$`, 'm'))
    assert.match(stdout, /^ok +xapi +answers at .*\/xapi in \d+ ms; HA is off$/m)
    assert.match(stdout, /^ok +configuration +.*xengate\.toml is valid$/m)
    assert.match(stdout, /^ok +services +.*: 1 socket, all open to the user nobody$/m)
    assert.match(stdout, /^ok +stunnel +the front is off, and can be switched on$/m)
  })

  test('names a directory on the way that shuts the workers out; what it advises helps', DEADLINE, async (t) => {
    const { root, pluginDirectory } = dom0.host
    const above = dirname(pluginDirectory)
    chmodSync(above, 0o700)
    const shut = await findingOf(dom0, 'services')
    assert.deepEqual([shut.code, shut.verdict], [1, 'bad'])
    assert.equal(shut.text, `${above} does not let the user ${WORKER_USER} through`)
    assert.equal(shut.remedy, `setfacl -m u:${WORKER_USER}:x ${above}`)
    if (await follow(scope, shut)) assert.equal((await findingOf(dom0, 'services')).verdict, 'ok')
    else t.diagnostic(`no ACLs below ${root}`)
    chmodSync(above, 0o755)
    assert.equal((await findingOf(dom0, 'services')).verdict, 'ok')
  })

  test('names a socket that the workers cannot connect to; what it advises helps', DEADLINE, async (t) => {
    const { root, pluginDirectory } = dom0.host
    const socket = join(pluginDirectory, SERVICE)
    chmodSync(socket, 0o600)
    const closed = await findingOf(dom0, 'services')
    assert.deepEqual([closed.code, closed.verdict], [1, 'bad'])
    assert.equal(closed.text, `${socket} does not let the user ${WORKER_USER} connect`)
    if (await follow(scope, closed)) assert.equal((await findingOf(dom0, 'services')).verdict, 'ok')
    else t.diagnostic(`no ACLs below ${root}`)
    chmodSync(socket, 0o666)

    chmodSync(pluginDirectory, 0o777)
    const writable = await findingOf(dom0, 'services')
    assert.deepEqual([writable.code, writable.verdict, writable.remedy], [0, 'doubt', `chmod go-w ${pluginDirectory}`])
    assert.ok(await follow(scope, writable))
    assert.equal((await findingOf(dom0, 'services')).verdict, 'ok')
  })

  test('says when xapi, stunnel or the configuration is not as it has to be', DEADLINE, async () => {
    await standIn.order({ order: 'set-ha', on: true })
    assert.match((await findingOf(dom0, 'xapi')).text, /; HA is on$/)
    await standIn.order({ order: 'close' })
    const silent = await findingOf(dom0, 'xapi')
    assert.deepEqual([silent.code, silent.verdict, silent.remedy], [1, 'bad', 'systemctl status xapi'])
    await standIn.order({ order: 'open' })

    dom0.writeOwn({ clientName: 'client' })
    const form = await findingOf(dom0, 'stunnel')
    assert.deepEqual([form.code, form.verdict], [0, 'doubt'])
    assert.match(form.text, /the front is not possible: .*clients sign in with certificates/)
    dom0.writeOwn()

    configure(dom0, 'nonsense = 1')
    const invalid = await findingOf(dom0, 'configuration')
    assert.deepEqual([invalid.code, invalid.verdict], [1, 'bad'])
    assert.match(invalid.text, /^line 15: .*nonsense/)
    rmSync(dom0.host.config)
    const none = await findingOf(dom0, 'configuration')
    assert.deepEqual([none.code, none.verdict], [0, 'doubt'])
    configure(dom0)
  })

  test('says of a port whether anybody listens, and whether clients get to it', DEADLINE, async () => {
    const { port: taken } = await listenAnywhere(scope)
    configure(dom0, `[[listen]]\naddress = "[::]:${taken}"`)
    const port = await findingOf(dom0, `port ${taken}`)
    assert.deepEqual([port.verdict, port.remedy], ['doubt', `xengate host open-port ${taken}`])
    assert.match(port.text, /^a program listens there; xengate did not open it/)
    configure(dom0)
  })
})

/** Writes down how it is called, and keeps in a file of its name which rules there are. */
const IPTABLES_PLUGIN = `#!/bin/sh
echo "firewall-port $*" >>"$ROOT/firewall"
[ ! -e "$ROOT/broken" ] && [ ! -e "$ROOT/broken-$2" ] || { echo "iptables: no" >&2; exit 1; }
case $1 in
  open) : >"$ROOT/open-$2" ;;
  close) rm -f "$ROOT/open-$2" ;;
esac`

/** Is asked by -C xapi-INPUT … --dport PORT -j ACCEPT alone. */
const IPTABLES = `#!/bin/sh
[ "$1 $2" = "-C xapi-INPUT" ] || exit 2
while [ "$1" != --dport ]; do shift; done
[ -e "$ROOT/open-$2" ]`

const FIREWALL_CMD = `#!/bin/sh
[ "$1" = --state ] && exit
echo "firewall-cmd $*" >>"$ROOT/firewall"
rule=$ROOT/permanent-$(echo "\${2#*=}" | tr / -)
case "$*" in
  *--query-port=*) [ -e "$rule" ] ;;
  "--permanent --add-port="*) : >"$rule" ;;
  "--permanent --remove-port="*) rm "$rule" ;;
  *) [ ! -e "$ROOT/broken" ] || { echo "INVALID_ZONE" >&2; exit 1; } ;;
esac`

describe('host open-port and close-port', () => {
  const scope = scopeOfSuite()
  let dom0: Dom0
  const opened = (): unknown =>
    existsSync(dom0.host.openedPorts) ? JSON.parse(readFileSync(dom0.host.openedPorts, 'utf8')) : []
  const takeCalls = (): string[] => {
    const calls = dom0.text('firewall').trimEnd().split('\n')
    rmSync(join(dom0.host.root, 'firewall'), { force: true })
    return calls
  }
  const openPort = (port: number): ReturnType<Dom0['command']> => dom0.command((io, host) => open(port, io, host))
  const closePort = (port: number | null): ReturnType<Dom0['command']> =>
    dom0.command((io, host) => close(port, io, host))

  test('without a firewall that is known nothing is done', DEADLINE, async () => {
    dom0 = await Dom0.make(scope, '127.0.0.1:')
    const unknown = await openPort(8443)
    assert.equal(unknown.code, 1)
    assert.match(unknown.stderr, /cannot tell which firewall .*\[firewall-unknown\]\ntry: /)
  })

  test("by xapi's plugin for iptables: what was opened here is closed again, and nothing else", DEADLINE, async () => {
    const { firewallPlugin, root } = dom0.host
    mkdirSync(dirname(firewallPlugin), { recursive: true })
    writeFileSync(firewallPlugin, IPTABLES_PLUGIN, { mode: 0o755 })
    dom0.install('iptables', IPTABLES)

    for (const port of [8443, 9000]) assert.equal((await openPort(port)).code, 0)
    assert.deepEqual(takeCalls(), ['firewall-port open 8443 tcp', 'firewall-port open 9000 tcp'])
    assert.deepEqual(opened(), [
      { port: 8443, by: 'iptables' },
      { port: 9000, by: 'iptables' },
    ])
    // Again: it is open already, and stays ours.
    assert.match((await openPort(8443)).stderr, /port 8443 is open/)

    // Of the administrator: neither recorded nor closed.
    writeFileSync(join(root, 'open-7000'), '')
    assert.match((await openPort(7000)).stderr, /was open before, and not by xengate/)
    const others = await closePort(7000)
    assert.equal(others.code, 1)
    assert.match(others.stderr, /port 7000 was not opened by xengate; opened: 8443, 9000 \[port-unknown\]/)

    for (const port of [22, 80, 443]) {
      for (const refused of [await openPort(port), await closePort(port)]) {
        assert.equal(refused.code, 1)
        assert.match(refused.stderr, /it stays as it is \[port-reserved\]/)
      }
    }
    assert.deepEqual(takeCalls(), [''])

    assert.equal((await closePort(8443)).code, 0)
    const all = await closePort(null)
    assert.deepEqual([all.code, all.stderr], [0, 'port 9000 is closed again\n'])
    assert.deepEqual(takeCalls(), ['firewall-port close 8443 tcp', 'firewall-port close 9000 tcp'])
    assert.ok(!existsSync(dom0.host.openedPorts) && existsSync(join(root, 'open-7000')))
    const none = await closePort(null)
    assert.deepEqual([none.code, none.stderr], [0, 'no port was opened by xengate: nothing to do\n'])
  })

  test('a port that cannot be opened is not recorded, and one that cannot be closed stays so', DEADLINE, async () => {
    const broken = join(dom0.host.root, 'broken')
    writeFileSync(broken, '')
    const failed = await openPort(8443)
    assert.equal(failed.code, 1)
    assert.match(failed.stderr, /cannot open port 8443 by iptables: iptables: no \[firewall-failed\]/)
    assert.deepEqual(opened(), [])
    rmSync(broken)
    await openPort(8443)
    writeFileSync(broken, '')
    assert.equal((await closePort(8443)).code, 1)
    assert.deepEqual(opened(), [{ port: 8443, by: 'iptables' }])
    rmSync(broken)
    assert.equal((await closePort(8443)).code, 0)
    takeCalls()
  })

  test('of all ports, one that cannot be closed does not keep the others open', DEADLINE, async () => {
    for (const port of [8443, 9000]) await openPort(port)
    const broken = join(dom0.host.root, 'broken-8443')
    writeFileSync(broken, '')
    const all = await closePort(null)
    assert.equal(all.code, 1)
    assert.match(all.stderr, /cannot close port 8443 by iptables: .*\[firewall-failed\][^]*port 9000 is closed again/)
    assert.deepEqual(opened(), [{ port: 8443, by: 'iptables' }])
    rmSync(broken)
    assert.equal((await closePort(null)).code, 0)
    takeCalls()
  })

  test('by firewalld, where it runs: now and for the next start, or not at all', DEADLINE, async () => {
    dom0.install('firewall-cmd', FIREWALL_CMD)
    assert.equal((await openPort(8443)).code, 0)
    assert.deepEqual(takeCalls(), [
      'firewall-cmd --permanent --query-port=8443/tcp',
      'firewall-cmd --permanent --add-port=8443/tcp',
      'firewall-cmd --add-port=8443/tcp',
    ])
    assert.equal((await closePort(8443)).code, 0)
    assert.deepEqual(takeCalls(), [
      'firewall-cmd --permanent --remove-port=8443/tcp',
      'firewall-cmd --remove-port=8443/tcp',
    ])
    writeFileSync(join(dom0.host.root, 'broken'), '')
    assert.match((await openPort(8443)).stderr, /by firewalld: INVALID_ZONE \[firewall-failed\]/)
    assert.ok(takeCalls().includes('firewall-cmd --permanent --remove-port=8443/tcp'))
    assert.deepEqual([opened(), existsSync(join(dom0.host.root, 'permanent-8443-tcp'))], [[], false])
  })
})

/** A program that has a port. */
async function listenAnywhere(scope: Scope): Promise<AddressInfo> {
  const server = createServer().listen(0, '127.0.0.1')
  scope.defer(() => void server.close())
  await once(server, 'listening')
  return server.address() as AddressInfo
}
