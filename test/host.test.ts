// The daemon as a part of its host: what it tells the service manager, whom its workers run as, and what becomes of it when they hang
// or are of another version.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { type RequestHandler, serve } from '@xengate/service'
import { bundle } from '../packaging/bundle.ts'
import { Child, run } from './harness/child.ts'
import { type Daemon, Place, startDaemon, USER, XENGATE } from './harness/daemon.ts'
import { startManager } from './harness/manager.ts'
import { exchange } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { listen, serveHttp } from './harness/services.ts'
import { makeCertificate } from './harness/tls.ts'

const NAME = 'com.example.work'
const NOBODY = 65_534

function get(session: string, name: string = NAME): string {
  return `GET /services/plugin/${name} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\nConnection: close\r\n\r\n`
}

test('tells the service manager when it serves, that it lives, and when it stops; workers do not', async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope)
  const path = join(place.directory, 'notify')
  const manager = await startManager(scope, path)
  const env = ['env', `NOTIFY_SOCKET=${path}`, 'WATCHDOG_USEC=400000']
  const daemon = await place.start(env)
  await manager.printed(({ stdout }) => /b'READY=1\\nSTATUS=serving at http:/.exec(stdout) ?? undefined, 'READY')
  await manager.printed(({ stdout }) => /(?:b'WATCHDOG=1'\n){3}/.exec(stdout) ?? undefined, 'signs of life')
  const [worker = 0] = daemon.workerPids
  assert.doesNotMatch(readFileSync(`/proc/${worker}/environ`, 'latin1'), /NOTIFY_SOCKET|WATCHDOG/)
  daemon.child.signal('SIGHUP')
  const reloaded = /b'RELOADING=1\\nMONOTONIC_USEC=\d+\\n[^']*'\n(?:b'WATCHDOG=1'\n)*b'READY=1\\n/
  await manager.printed(({ stdout }) => reloaded.exec(stdout) ?? undefined, 'a reload')
  assert.equal((await daemon.stop()).code, 0)
  await manager.printed(
    ({ stdout }) => /b'STOPPING=1[^']*'\n(?:b'WATCHDOG=1'\n)*b'EXTEND_TIMEOUT_USEC=10000000'/.exec(stdout) ?? undefined,
    'that it stops, and takes its time',
  )
})

test('a worker that hangs is killed within 10 s, and another one answers those who waited', async (t) => {
  const scope = scopeOf(t)
  const daemon = await startDaemon(scope)
  await serveHttp(scope, daemon.place.socket(NAME), (_request, response) => response.end('done'))
  const session = await daemon.login()
  const [worker = 0] = daemon.workerPids
  process.kill(worker, 'SIGSTOP')
  const waiting = exchange(daemon.url, get(session))
  const hung = await daemon.event(({ event }) => event === 'worker-hung', 'the end of the worker')
  assert.equal(hung['worker'], worker)
  await daemon.event(({ event, worker: other }) => event === 'worker-ready' && other !== worker, 'another worker')
  // It was in the queue of the listening socket, which is every worker's.
  assert.equal((await waiting).text, 'done')
})

/** Whether another user gets at this checkout and at Node.js. */
function isOpenTo(uid: number): boolean {
  const argv = [...XENGATE, '--version']
  return process.geteuid?.() === 0 && spawnSync(process.execPath, argv, { uid, gid: uid }).status === 0
}

test(
  'workers run as the user that is named, without its rights the primary has',
  { skip: isOpenTo(NOBODY) ? false : 'needs root, and a checkout that other users can read' },
  async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    const { certificate, key } = makeCertificate(place.directory)
    chmodSync(place.directory, 0o711)
    chmodSync(key, 0o600)
    const daemon = await startAs(place, `tls = { certificate = "${certificate}", key = "${key}" }`)
    const [worker = 0] = daemon.workerPids
    const status = readFileSync(`/proc/${worker}/status`, 'utf8')
    assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m)
    assert.match(status, /^Groups:\t\s*$/m)
    assert.match(status, /^CapEff:\t0000000000000000$/m)
    await serveHttp(scope, place.socket(NAME), (_request, response) => response.end('done'))
    chmodSync(place.socket(NAME), 0o666)
    const session = await daemon.login()
    assert.equal((await exchange(daemon.url, get(session))).text, 'done')
    // The key is the primary's to read.
    const curl = ['-sk', '--cookie', `session_id=${session}`, `${daemon.urls[1]}/services/plugin/${NAME}`]
    assert.equal((await run(scope, 'curl', curl)).stdout, 'done')
    const closed = createServer()
    scope.defer(() => void closed.close())
    await listen(closed, place.socket('com.example.closed'))
    chmodSync(place.socket('com.example.closed'), 0o700)
    const refused = await exchange(daemon.url, get(session, 'com.example.closed'))
    assert.equal(refused.status, 502)
    assert.match(refused.text, /check its permissions/)
  },
)

test(
  'services are called for host.call_plugin by the user of the workers, who is believed',
  { skip: isOpenTo(NOBODY) ? false : 'needs root, and a checkout that other users can read' },
  async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    chmodSync(place.directory, 0o711)
    const daemon = await startAs(place, '')
    const handler: RequestHandler = ({ xen }, response) => response.end(`hello ${xen.user}`)
    const service = await serve({ name: NAME, directory: place.plugin, gateway: NOBODY, mode: 0o666, handler })
    scope.defer(() => service.close())
    const session = await daemon.login()
    const { result } = await daemon.call('host.get_all', [session])
    const called = await daemon.call('host.call_plugin', [session, (result as [string])[0], NAME, 'x', {}])
    assert.equal(called.result, 'hello alice')
  },
)

async function startAs(place: Place, keys: string): Promise<Daemon> {
  await place.configure({ listen: ['127.0.0.1:0', { address: '127.0.0.2:0', keys }] })
  const text = readFileSync(place.configuration, 'utf8')
  writeFileSync(place.configuration, `worker-user = "nobody"\n${text}`)
  await place.addDefaultUser()
  return place.start()
}

interface Installed {
  /** Directory of the program. */
  readonly app: string
  readonly child: Child
  /** Process ids of its workers. */
  readonly workers: readonly number[]
  /** Waits for an event of the log. */
  readonly logged: (event: string) => Promise<void>
}

/** A daemon from files of its own, which may be changed under it. */
async function startInstalled(scope: Scope, workers: number): Promise<Installed> {
  const place = await Place.make(scope, { workers })
  const app = join(place.directory, 'app')
  await bundle(app)
  const argv = [join(app, 'dist/main.js'), 'serve', '--config', place.configuration]
  const child = new Child(scope, process.execPath, argv)
  const logged = async (event: string): Promise<void> => {
    await child.printed(({ stdout }) => (stdout.includes(`"event":"${event}"`) ? true : undefined), event)
  }
  await logged('started')
  const ready = [...child.stdout.matchAll(/"worker-ready","worker":(\d+)/g)]
  return { app, child, workers: ready.map(([, pid]) => Number(pid)), logged }
}

test('a worker of another build does not serve, and makes the primary end', async (t) => {
  const { app, child, workers, logged } = await startInstalled(scopeOf(t), 2)
  const manifest = join(app, 'package.json')
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(/"build": "/, '"build": "x'))
  process.kill(workers[0] ?? 0, 'SIGKILL')
  await logged('program-replaced')
  assert.equal((await child.exited).code, 1)
  assert.match(child.stdout, /"event":"stopped"/)
  assert.equal(child.stdout.split('"event":"worker-ready"').length, 3, 'no worker of the other build served')
})

test('without a worker the daemon ends, and whoever waits is refused rather than kept', async (t) => {
  const { app, child, workers, logged } = await startInstalled(scopeOf(t), 1)
  writeFileSync(join(app, 'dist/worker-main.js'), 'process.exit(1)\n')
  process.kill(workers[0] ?? 0, 'SIGKILL')
  await logged('workers-gone')
  assert.equal((await child.exited).code, 1)
})

test('an unprivileged daemon that is to have other workers says so at once', async (t) => {
  const place = await Place.make(scopeOf(t))
  const text = readFileSync(place.configuration, 'utf8')
  writeFileSync(place.configuration, `worker-user = "${USER.name}-is-nobody"\n${text}`)
  const ran = await place.command(['check-config'])
  assert.equal(ran.code, 1)
  assert.match(ran.stderr, /`worker-user`/)
})
