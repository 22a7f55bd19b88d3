// Three gateways on hosts of their own, one Valkey, and a cable that is pulled.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { startValkey } from './harness/backends.ts'
import { run as runCommand } from './harness/child.ts'
import { type Daemon, Place, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { type Host, makeNetwork } from './harness/network.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.moves'
const PORT = 8080
const LEASE_MS = 10_000
/** Another host's heartbeat finds that a lease is over; and a busy machine. */
const LEASE_SLACK_MS = 3000 + 2000
/** How long nobody may be sent to a host that is forgotten. */
const QUIET_MS = 3000

const isRoot = process.getuid?.() === 0
const OPTIONS = {
  timeout: 120_000,
  // Namespaces are root's to make.
  skip: isRoot ? false : 'run as root: sudo npx node -C @xengate/source --test test/partition.test.ts',
}

/** A gateway on a host. */
interface Member {
  readonly host: Host
  readonly daemon: Daemon
  readonly origin: string
}

async function startMember(scope: Scope, host: Host, name: string, valkey: string): Promise<Member> {
  const origin = `http://${host.address}:${PORT}`
  const tables = `[sessions]\nauthority = "valkey"\n[valkey]\nurl = "${valkey}"
[pool]\nname = "p"\nhost = "${name}"\naddress = "${origin}"\nregistry = "valkey"\n`
  const place = await Place.make(scope, { listen: [`0.0.0.0:${PORT}`], tables })
  return { host, daemon: await place.start(host.within), origin }
}

/** What a client on the member's own host is answered: the status, and where it is sent. */
async function ask(scope: Scope, { host, origin }: Member, session: string): Promise<string> {
  const argv = ['curl', '-s', '-m', '8', '-o', '/dev/null', '-w', '%{http_code} %{redirect_url}']
  const target = `http://127.0.0.1:${PORT}/services/plugin/${NAME}`
  const { stdout } = await onHost(scope, host, [...argv, '-b', `session_id=${session}`, target])
  assert.ok(!stdout.includes(origin), 'nobody is sent to where it came from')
  return stdout.trim().replace(/\/services.*/, '')
}

async function login(scope: Scope, { host }: Member): Promise<string> {
  const call = { jsonrpc: '2.0', id: 1, method: 'session.login_with_password', params: [USER.name, USER.password] }
  return callOn(scope, host, call)
}

async function logout(scope: Scope, { host }: Member, session: string): Promise<string> {
  return callOn(scope, host, { jsonrpc: '2.0', id: 1, method: 'session.logout', params: [session] })
}

async function callOn(scope: Scope, host: Host, call: object): Promise<string> {
  const argv = ['curl', '-s', '-d', JSON.stringify(call), `http://127.0.0.1:${PORT}/jsonrpc`]
  const { stdout } = await onHost(scope, host, argv)
  return (JSON.parse(stdout) as { result: string }).result
}

function onHost(scope: Scope, { within }: Host, argv: readonly string[]): ReturnType<typeof runCommand> {
  return runCommand(scope, 'ip', [...within.slice(1), ...argv])
}

test('three hosts follow a service, forget one that is cut off, and know it again', OPTIONS, async (t) => {
  const scope = scopeOf(t)
  const [store, ...hosts] = makeNetwork(scope, 4)
  assert.ok(store)
  const bind = ['--port', '6379', '--bind', store.address, '--protected-mode', 'no']
  const server = await startValkey(scope, { argv: bind, within: store.within })
  const admin = await Place.make(scope, {
    tables: `[sessions]\nauthority = "valkey"\n[pool]\nname = "p"\n[valkey]\nurl = "${server.url}"\n`,
  })
  await admin.addUser(USER.name, USER.password, USER.role)
  const url = `redis://${store.address}:6379`
  const members: Member[] = []
  for (const [index, host] of hosts.entries()) members.push(await startMember(scope, host, `host-${index}`, url))
  const [a, b, c] = members
  assert.ok(a && b && c)
  const session = await login(scope, a)
  const answers = async (of: Member, wanted: string, ms: number): Promise<void> => {
    await until(async () => (await ask(scope, of, session)) === wanted, `"${wanted}"`, ms)
  }
  for (const member of members) await answers(member, '404', 5000)

  // It starts on B.
  const onB = await serveHttp(scope, b.daemon.place.socket(NAME), (_request, response) => {
    response.end('b')
  })
  for (const member of [a, c]) await answers(member, `302 ${b.origin}`, 1000)
  await answers(b, '200', 1000)

  // It moves to C.
  await serveHttp(scope, c.daemon.place.socket(NAME), (_request, response) => {
    response.end('c')
  })
  onB.close()
  onB.closeAllConnections()
  await once(onB, 'close')
  for (const member of [a, b]) await answers(member, `302 ${c.origin}`, 5000)

  // C is cut off: forgotten with its lease, and nobody is sent there then.
  c.host.unplug()
  await answers(a, '404', LEASE_MS + LEASE_SLACK_MS)
  await answers(b, '404', LEASE_SLACK_MS)
  const left: readonly Member[] = [a, b]
  const quietUntilMs = performance.now() + QUIET_MS
  while (performance.now() < quietUntilMs) {
    for (const member of left) assert.equal(await ask(scope, member, session), '404')
  }
  // On C nobody can tell any more whether the session holds.
  await answers(c, '503', LEASE_MS)

  // What happens meanwhile is known when it is back: the service on C, and the end of a session.
  const ended = await login(scope, a)
  c.host.plug()
  for (const member of left) await answers(member, `302 ${c.origin}`, 15_000)
  await answers(c, '200', 5000)
  assert.equal(await logout(scope, a, ended), '')
  await until(async () => (await ask(scope, c, ended)) === '403', 'the end of the session', 1000)
})
