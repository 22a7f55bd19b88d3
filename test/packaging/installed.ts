// The packages, installed below a directory that is like an old host's root, and run there.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, readFileSync, rmSync, statSync } from 'node:fs'
import { request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Child } from '../harness/child.ts'
import { login, USER } from '../harness/daemon.ts'
import { until, within } from '../harness/deadline.ts'
import { exchange, RawClient } from '../harness/raw.ts'
import { Scope, scopeOf, scopeOfSuite } from '../harness/scope.ts'
import { serveHttp } from '../harness/services.ts'
import { freePort, makeCertificate } from '../harness/tls.ts'
import { useFront } from './front.ts'
import { Load } from './load.ts'
import { NEXT_VERSION, nextPackages, packagesOfThis } from './packages.ts'
import { Root, unitProcess, XENGATE_ID } from './root.ts'
import { assertOwnLibraries, Service, uidOf } from './service.ts'

const DEADLINE = { timeout: 90_000 }
const NEEDS_ROOT = process.getuid?.() === 0 ? false : 'needs root: mounts, chroot, and users of services'

const CHANNEL = 'com.example.passed'
const RELAYED = 'com.example.relayed'

const FRONT_FILES = ['etc/systemd/system/stunnel@xapi.service.d/50-xengate-front.conf', 'etc/xengate/stunnel-front.sh']

/** As xapi's host.call_plugin has it, but for arguments. */
const STATUS_CALL = '<methodCall><methodName>status</methodName><params></params></methodCall>'

/** Runs what a status report would. */
async function checkBugtool(root: Root): Promise<void> {
  root.write('var/log/daemon.log', 'Nov  5 08:30:00 host xengate[1]: {"event":"started"}\nanother line\n')
  const [...commands] = root
    .read('etc/xensource/bugtool/xengate/stuff.xml')
    .matchAll(/<command label="([^"]+)">(.*)<\/command>/g)
  const outputs = new Map<string, string>()
  let seconds = 0
  for (const [, label = '', command = ''] of commands) {
    seconds += Number(/^timeout (\d+) /.exec(command)?.[1])
    // On a loaded machine they take longer than on a host.
    const patient = command
      .replace(/^timeout \d+ /, 'timeout 60 ')
      .replaceAll('&gt;', '>')
      .replaceAll('&amp;', '&')
    outputs.set(label, await root.run(['/bin/sh', '-c', patient]))
  }
  assert.ok(seconds < 10, `${seconds} s when all of it hangs`)
  assert.match(outputs.get('xengate-status') ?? '', /^\{"version":/)
  assert.match(outputs.get('xengate-services') ?? '', /^\[\{"name":/)
  assert.match(outputs.get('xengate-host-check') ?? '', /configuration/)
  assert.match(outputs.get('xengate-config') ?? '', /^state-dir = "\/var\/lib\/xengate"$/m)
  assert.match(outputs.get('xengate-log') ?? '', /^Nov {2}5 .*started"\}\n$/)
}

/** What stunnel writes first. */
const PROXY_LINE = 'PROXY TCP6 ::ffff:10.1.2.3 ::ffff:10.0.0.1 40000 443\r\n'

/** Nothing of the test's own environment gets to what scriptlets run. */
const ENV = { PATH: process.env['PATH'] }

/** What rpm and dpkg are told so that they work below `root`. */
function rpm(root: Root, ...argv: string[]): string {
  return execFileSync('rpm', ['--root', root.directory, '--dbpath', '/var/lib/rpm', ...argv], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: ENV,
  })
}

function dpkg(root: Root, ...argv: string[]): string {
  const options = [`--root=${root.directory}`, '--force-depends', '--force-not-root']
  return execFileSync('dpkg', [...options, ...argv], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: ENV,
  })
}

/** A configuration that needs no xapi. */
function configuration(port: number, tlsPort: number, more: string): string {
  return `state-dir = "/var/lib/xengate"
${more}

[[listen]]
address = "127.0.0.1:${port}"

[[listen]]
address = "127.0.0.1:${tlsPort}"
tls = { certificate = "/etc/cert.pem", key = "/etc/key.pem" }

[[listen]]
address = "unix:/run/xengate/front.sock"
proxy-protocol = true
mode = "0600"

[services]
directories = ["/var/xapi/plugin"]
`
}

/** @returns the targets that the one gets whose requests are relayed */
async function startServices(scope: Scope, root: Root): Promise<Set<string>> {
  const plugin = root.path('var/xapi/plugin')
  const targets = new Set<string>()
  await serveHttp(scope, join(plugin, RELAYED), ({ url = '' }, response) => {
    targets.add(url)
    response.end(`relayed ${url}`)
  })
  execFileSync('chmod', ['666', join(plugin, RELAYED)])
  const script = join(import.meta.dirname, '../services/node_service.ts')
  const service = new Child(scope, process.execPath, ['-C', '@xengate/source', script, plugin, CHANNEL])
  await service.printed(({ stdout }) => stdout.includes('ready\n') || undefined, 'its start')
  execFileSync('chmod', ['666', join(plugin, CHANNEL), join(plugin, `${CHANNEL}.channel`)])
  return targets
}

/** What the service manager hears, on its socket. */
async function listenToNotifications(scope: Scope, path: string): Promise<Child> {
  const script = `import socket, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(sys.argv[1])
print('listening', flush=True)
while True: print(listener.recv(4096).decode(), flush=True)`
  const manager = new Child(scope, 'python3', ['-c', script, path])
  scope.defer(() => rmSync(path))
  await manager.printed(({ stdout }) => stdout.includes('listening') || undefined, 'its start')
  return manager
}

function asked(session: string, name: string, path = 'who'): string {
  return `GET /services/plugin/${name}/${path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nCookie: session_id=${session}\r\n\r\n`
}

/** Asks by TLS, with a certificate that nobody vouches for. */
function askByTls(port: number, session: string, name: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const options = { port, rejectUnauthorized: false, headers: { Cookie: `session_id=${session}` } }
  const path = `/services/plugin/${name}/who`
  httpsRequest({ host: '127.0.0.1', path, ...options }, (response) => {
    let text = ''
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    response.on('end', () => resolve(text)).on('error', reject)
  })
    .on('error', reject)
    .end()
  return within(promise, `an answer by TLS at port ${port}`)
}

/** Everything that works on a host, in one go: the steps share what they found. */
interface Installed {
  readonly root: Root
  readonly service: Service
  readonly url: string
  readonly tlsPort: number
}

async function useIt({ root, service, url, tlsPort }: Installed): Promise<string> {
  const session = await login(url)
  const relayed = await exchange(url, asked(session, RELAYED))
  assert.equal(relayed.text, `relayed /services/plugin/${RELAYED}/who`)
  // One request alone is not worth a channel.
  const passed = await exchange(url, asked(session, CHANNEL).replace('Connection: close\r\n', ''))
  assert.deepEqual([passed.status, JSON.parse(passed.text).channel], [200, true])
  const byTls = JSON.parse(await askByTls(tlsPort, session, CHANNEL)) as { user: string; channel: boolean }
  assert.deepEqual([byTls.user, byTls.channel], [USER.name, false])
  assert.equal((await exchange(url, asked('none', RELAYED))).status, 403)
  const front = await RawClient.connect(`unix:${root.path('run/xengate/front.sock')}`)
  await front.send(`${PROXY_LINE}${asked(session, RELAYED)}`)
  assert.equal((await front.response()).status, 200)
  front.destroy()
  await assertOwnLibraries(service)
  return session
}

/** A plugin script of the host, by the unit that runs them. */
async function callScript(root: Root, url: string): Promise<void> {
  const scripts = await root.start(unitProcess(root.read('usr/lib/systemd/system/xengate-plugins.service')))
  await scripts.child.printed(({ stderr }) => stderr.includes('listens in') || undefined, 'that it listens')
  const session = await login(url)
  const head = `POST /services/plugin/org.xengate.plugins/xengate/status HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nCookie: session_id=${session}\r\n`
  const answer = await exchange(url, `${head}Content-Length: 2\r\n\r\n{}`)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(typeof (JSON.parse(answer.text) as { version: unknown }).version, 'string')
  await scripts.end()
}

async function makeRoot(scope: Scope): Promise<Root> {
  const root = await Root.make(scope)
  const { certificate, key } = makeCertificate(await scope.directory())
  root.write('etc/cert.pem', readFileSync(certificate, 'utf8'))
  root.write('etc/key.pem', readFileSync(key, 'utf8'))
  execFileSync('chmod', ['644', root.path('etc/key.pem')])
  return root
}

export function testInstalled(): void {
  describe('the RPM in the root of an old host', { skip: NEEDS_ROOT }, testRpm)
  describe('the deb in a root of its own', { skip: NEEDS_ROOT }, testDeb)
}

function testRpm(): void {
  const scope = scopeOfSuite()
  const running = new Scope()
  scope.defer(() => running.close())
  let root: Root
  let before: string[]
  let installed: Installed
  let targets: Set<string>

  test('wrong libraries are there, and a node that does not bring its own dies of them', DEADLINE, async () => {
    const { tree } = await packagesOfThis()
    root = await makeRoot(scope)
    before = root.snapshot()
    execFileSync('cp', [join(tree, 'bin/node'), root.path('tmp/node')])
    execFileSync('cp', [join(tree, 'lib/ld.so'), root.path('tmp/ld.so')])
    execFileSync('patchelf', ['--remove-rpath', root.path('tmp/node')])
    execFileSync('patchelf', ['--set-interpreter', '/tmp/ld.so', root.path('tmp/node')])
    await assert.rejects(root.run(['/tmp/node', '--version']), /symbol|version|relocation/i)
    execFileSync('rm', [root.path('tmp/node'), root.path('tmp/ld.so')])
  })

  test('is installed: a user, no service started or enabled, and all files as they were packed', DEADLINE, async () => {
    const { rpm: path } = await packagesOfThis()
    rpm(root, '--nodeps', '-i', path)
    assert.match(root.read('etc/passwd'), /^xengate:/m)
    assert.deepEqual(root.takeSystemctlCalls(), ['daemon-reload'])
    assert.ok(!root.has('usr/lib/systemd/system/xengate.service.d/hardening.conf'), 'not for systemd 219')
    assert.equal(rpm(root, '--nodeps', '-V', 'xengate'), '')
    assert.match(await root.run(['/usr/bin/xengate', '--version']), /Node\.js v26/)
    const environment = ['/bin/env', 'LD_LIBRARY_PATH=/lib64', '/usr/bin/xengate', '--version']
    assert.match(await root.run(environment), /Node\.js v26/)
    execFileSync('mkdir', [root.path('run/xengate')]) // as systemd does when the service starts
    await root.run(['/usr/bin/xengate', 'check-config'])
    const service = new Service(root, 'usr/lib/systemd/system/xengate.service')
    await service.start()
    const front = root.path('run/xengate/front.sock')
    assert.equal(statSync(front).mode & 0o777, 0o600)
    await until(() => root.has('dev/shm/metrics/xengate'), 'what xcp-rrdd is told')
    assert.equal(statSync(root.path('dev/shm/metrics/xengate')).mode & 0o777, 0o644)
    const client = await RawClient.connect(`unix:${front}`)
    await client.send(`${PROXY_LINE}${asked('OpaqueRef:0f7a1b3c-9d2e-4c5f-8a6b-1c2d3e4f5a6b', RELAYED)}`)
    assert.equal((await client.response()).status, 503, 'there is no xapi')
    client.destroy()
    await service.stop()
  })

  test('before xapi at port 443: log in at xapi, reach a service; without the gateway, xapi; and back', DEADLINE, (t) =>
    useFront(root, scopeOf(t)),
  )

  test(
    'serves on a kernel 4.19: log in, relay, channel, TLS, front, with no library of the host',
    DEADLINE,
    async () => {
      const [port, tlsPort] = [await freePort(), await freePort()]
      root.write('etc/xengate/xengate.toml', configuration(port, tlsPort, 'workers = 1\nworker-user = "xengate"'))
      targets = await startServices(running, root)
      const service = new Service(root, 'usr/lib/systemd/system/xengate.service')
      installed = { root, service, url: `http://127.0.0.1:${port}`, tlsPort }
      const manager = await listenToNotifications(running, root.path('run/notify'))
      await service.start({ env: { NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '1000000' } })
      await manager.printed(({ stdout }) => /^READY=1$/m.test(stdout) || undefined, 'that the daemon is ready')
      await manager.printed(({ stdout }) => /^WATCHDOG=1$/m.test(stdout) || undefined, 'that the daemon lives')
      const user = ['/usr/bin/xengate', 'user', 'add', USER.name, '--role', USER.role, '--password-stdin']
      await root.run(user, `${USER.password}\n`)
      await useIt(installed)
      const called = await root.run(['/etc/xapi.d/plugins/xengate', STATUS_CALL])
      assert.match(called, /Success.*"version":"/)
      const extension = ['/etc/xapi.d/extensions/Xengate.get_services', '--xmlrpc']
      const answered = await root.run(extension, STATUS_CALL.replace('status', 'Xengate.get_services'))
      assert.match(answered, new RegExp(`Success.*"name":"${RELAYED}"`))
      await callScript(root, installed.url)
      await checkBugtool(root)
      const [primary = 0, worker = 0] = await service.pids()
      assert.deepEqual([uidOf(primary), uidOf(worker)], [0, XENGATE_ID])
      root.write('etc/xengate/xengate.toml', configuration(port, tlsPort, 'workers = 2\nworker-user = "xengate"'))
      await service.reload()
      await useIt(installed)
    },
  )

  test('is upgraded under load: what is asked is answered, or refused while it starts again', DEADLINE, async () => {
    const { tree } = await packagesOfThis()
    const { service, url } = installed
    const edited = root.read('etc/xengate/xengate.toml')
    const session = await login(url)
    const load = new Load(
      url,
      (number) => asked(session, RELAYED, String(number)),
      (number) => targets.has(`/services/plugin/${RELAYED}/${number}`),
    )
    await load.more(20)
    root.setSystemd(252)
    rpm(root, '--nodeps', '-U', nextPackages(tree).rpm)
    // What systemd does on the last of them.
    assert.equal(root.takeSystemctlCalls().at(-1), 'try-restart xengate.service xengate-plugins.service')
    await load.more(20)
    await service.stop()
    await service.start()
    await load.more(20)
    await load.stop()
    assert.deepEqual(load.lost, [])
    assert.equal((await service.event('started'))['version'], NEXT_VERSION)
    assert.equal(root.read('etc/xengate/xengate.toml'), edited)
    assert.ok(root.has('usr/lib/systemd/system/xengate.service.d/hardening.conf'), 'for systemd 252')
    await useIt(installed)
  })

  test('is removed: what an administrator made is in /etc/xengate, and nothing else is there', DEADLINE, async () => {
    await installed.service.stop()
    await running.close()
    // What "xengate front enable" leaves.
    for (const file of FRONT_FILES) root.write(file, '')
    await root.run(['/usr/bin/xengate', 'host', 'open-port', '8443'])
    rpm(root, '--nodeps', '-e', 'xengate')
    assert.equal(root.read('var/log/firewall'), 'open 8443 tcp\nclose 8443 tcp\n')
    const calls = root.takeSystemctlCalls().filter((line) => !line.includes('stunnel'))
    assert.deepEqual([...new Set(calls)].toSorted(), [
      'daemon-reload',
      'disable xengate-plugins.service',
      'disable xengate.service',
      'stop xengate-plugins.service',
      'stop xengate.service',
    ])
    const left = root.snapshot().filter((line) => !before.includes(line))
    assert.deepEqual(
      left.map((line) => line.split(' ')[0]),
      ['/etc/xengate', '/etc/xengate/xengate.db.rpmsave', '/etc/xengate/xengate.toml.rpmsave'],
    )
    execFileSync('rm', ['-r', root.path('etc/xengate')])
    assert.deepEqual(root.snapshot(), before)
  })
}

function testDeb(): void {
  const scope = scopeOfSuite()
  const running = new Scope()
  scope.defer(() => running.close())
  let root: Root
  let before: string[]
  let installed: Installed

  test('is installed, serves as an unprivileged user, and is upgraded', DEADLINE, async () => {
    const { deb, tree } = await packagesOfThis()
    root = await makeRoot(scope)
    root.prepareDpkg()
    before = root.snapshot()
    dpkg(root, '--install', deb)
    assert.deepEqual(root.takeSystemctlCalls(), ['daemon-reload'])
    await root.run(['/usr/bin/xengate', 'check-config'])
    const [port, tlsPort] = [await freePort(), await freePort()]
    const edited = configuration(port, tlsPort, 'workers = 1')
    root.write('etc/xengate/xengate.toml', edited)
    // By root, before the service has run: the database is the service's all the same.
    const user = ['/usr/bin/xengate', 'user', 'add', USER.name, '--role', USER.role, '--password-stdin']
    await root.run(user, `${USER.password}\n`)
    await startServices(running, root)
    const service = new Service(root, 'lib/systemd/system/xengate.service')
    installed = { root, service, url: `http://127.0.0.1:${port}`, tlsPort }
    // As ProcSubset and ProtectProc of the drop-in have it.
    await service.start({ proc: 'subset=pid,hidepid=invisible' })
    for (const pid of await service.pids()) assert.equal(uidOf(pid), XENGATE_ID)
    await useIt(installed)
    const file = root.path('etc/xengate/xengate.toml')
    chownSync(file, XENGATE_ID, XENGATE_ID)
    chmodSync(file, 0o400)
    dpkg(root, '--install', nextPackages(tree).deb)
    assert.equal(root.takeSystemctlCalls().at(-1), 'try-restart xengate.service')
    const { mode, uid } = statSync(file)
    assert.deepEqual([mode & 0o777, uid], [0o400, XENGATE_ID], 'as the administrator had it')
    assert.equal(root.read('etc/xengate/xengate.toml'), edited)
    // Before systemd starts it again: a new worker is of the new version, and the old primary ends rather than have it serve.
    await service.endsWithAWorker()
    await service.start()
    assert.equal((await service.event('started'))['version'], NEXT_VERSION)
    await useIt(installed)
  })

  test('is configured although the administrator deleted the configuration', DEADLINE, async () => {
    const edited = root.read('etc/xengate/xengate.toml')
    rmSync(root.path('etc/xengate/xengate.toml'))
    // The version that was there before: none at the first installation.
    for (const previous of ['', NEXT_VERSION]) {
      await root.run(['/bin/sh', '/var/lib/dpkg/info/xengate.postinst', 'configure', previous])
    }
    root.takeSystemctlCalls()
    root.write('etc/xengate/xengate.toml', edited)
  })

  test('is removed but for configuration and users, and purged of these too', DEADLINE, async () => {
    await installed.service.stop()
    await running.close()
    dpkg(root, '--remove', 'xengate')
    assert.deepEqual(root.takeSystemctlCalls(), ['disable --now xengate.service', 'daemon-reload'])
    assert.ok(root.has('etc/xengate/xengate.toml') && root.has('var/lib/xengate/xengate.db'))
    assert.ok(!root.has('opt/xengate') && !root.has('usr/bin/xengate'))
    dpkg(root, '--purge', 'xengate')
    const after = root.snapshot()
    assert.deepEqual(
      after.filter((line) => !before.includes(line)),
      [],
    )
    // Directories of other packages, which are empty here, it takes along.
    assert.deepEqual(
      before.filter((line) => !after.includes(line) && !/ 40755 /.test(line)),
      [],
    )
  })
}
