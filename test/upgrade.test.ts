// Another version takes the place of the one that runs, and nobody notices.

import assert from 'node:assert/strict'
import { cpSync, existsSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { version } from '../packages/gateway/src/version.ts'
import { bundle } from '../packaging/bundle.ts'
import { Child, childrenOf, isAlive } from './harness/child.ts'
import { Daemon, type DaemonSettings, Place, startDaemon, successors, XENGATE } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { Scrape } from './harness/metrics.ts'
import { startManager } from './harness/manager.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { echoUpgrades, serveHttp, startChannelServices } from './harness/services.ts'
import { freePort } from './harness/tls.ts'
import { channelClients, Traffic, tunnelClients } from './harness/traffic.ts'

const NAME = 'com.example.work'
const OTHER = 'com.example.other'
const CHANNEL = 'com.example.passed'
const TUNNEL = 'com.example.tunnel'
const NOTHING = 'GET /nothing HTTP/1.1\r\nHost: gate\r\n\r\n'

function asked(session: string, path = '', lines = ''): string {
  return `GET /services/plugin/${NAME}${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${lines}\r\n`
}

/** A daemon that upgrades may be asked of, and a service. What takes its place is ended with it. */
async function start(
  scope: Scope,
  settings: DaemonSettings = {},
): Promise<{ daemon: Daemon; session: string; held: Promise<void>; release: () => void }> {
  const daemon = await startDaemon(scope, settings)
  scope.defer(() => endSuccessors(daemon))
  const held = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  await serveHttp(scope, daemon.place.socket(NAME), ({ url = '' }, response) => {
    if (!url.endsWith('/held')) {
      response.end('done')
      return
    }
    response.write('begun ')
    held.resolve()
    void release.promise.then(() => response.end('and done'))
  })
  return { daemon, session: await daemon.login(), held: held.promise, release: () => release.resolve() }
}

async function endSuccessors(daemon: Daemon): Promise<void> {
  for (const pid of successors(daemon)) if (isAlive(pid)) process.kill(pid, 'SIGTERM')
  await until(() => successors(daemon).every((pid) => !isAlive(pid)), 'the end of all that took its place')
}

/** A service manager that opens two sockets, starts what follows, and lets it have them. */
const ACTIVATE = `
import fcntl, os, socket, sys
port, path, names = sys.argv[1:4]
tcp = socket.socket(); tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
tcp.bind(("127.0.0.1", int(port))); tcp.listen()
unix = socket.socket(socket.AF_UNIX); unix.bind(path); unix.listen()
kept = [os.dup(one.fileno()) for one in (tcp, unix)]
low = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in kept]
for at, fd in enumerate(low): os.dup2(fd, 3 + at, inheritable=True)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
if names: os.environ["LISTEN_FDNAMES"] = names
os.execvp(sys.argv[4], sys.argv[4:])
`

/** Whether a process has a handler for SIGUSR2, whose default is to end it. */
function takesSignals(pid: number): boolean {
  const [, caught = '0'] = /^SigCgt:\s+([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return (BigInt(`0x${caught}`) & 0x800n) !== 0n
}

/** Asks for an upgrade, as an operator does. @returns the process that serves then */
async function upgrade(daemon: Daemon): Promise<number> {
  const seen = successors(daemon).length
  const { code, stdout, stderr } = await daemon.place.command(['upgrade'])
  assert.equal(code, 0, stderr)
  assert.match(stdout, /^version \S+ serves, process \d+\n$/)
  return until(() => successors(daemon)[seen], 'the upgrade in the log')
}

describe('an upgrade', { timeout: 300_000 }, () => {
  test('goes on with the dashboard, which a reload takes away and brings back', async (t) => {
    const scope = scopeOf(t)
    const { daemon } = await start(scope)
    const isThere = async (): Promise<boolean> => {
      const { status, text } = await exchange(daemon.url, 'GET / HTTP/1.1\r\nHost: gate\r\n\r\n')
      return status === 200 && text.includes('<title>Xengate</title>')
    }
    assert.equal(await isThere(), true)
    const before = daemon.child.pid
    await upgrade(daemon)
    await until(() => !isAlive(before), 'the end of the process that was')
    assert.equal(await isThere(), true)
    for (const hasDashboard of [false, true]) {
      await daemon.place.configure({ tables: `[control]\ndashboard = ${hasDashboard}\n` })
      const { code, stderr } = await daemon.place.command(['reload'])
      assert.equal(code, 0, stderr)
      assert.equal(await isThere(), hasDashboard)
    }
  })

  test('has another process serve, with the sockets and sessions that there are, and finishes what is under way', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session, held, release } = await start(scope, {
      workers: 2,
      listen: ['127.0.0.1:0', 'unix:a.sock'],
    })
    const unix = `unix:${join(daemon.place.directory, 'a.sock')}`
    const { ino } = statSync(join(daemon.place.directory, 'a.sock'))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    const pid = await upgrade(daemon)
    assert.notEqual(pid, daemon.child.pid)
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    assert.equal((await exchange(unix, asked(session))).text, 'done')
    assert.equal(((await daemon.place.ask('/status')) as { pid: number }).pid, pid)
    release()
    assert.equal((await client.response()).text, 'begun and done')
    await until(() => daemon.child.hasEnded, 'the end of the first')
    assert.equal(daemon.child.process.exitCode, 0)
    // Its files are those of the process that has its place.
    assert.equal(statSync(join(daemon.place.directory, 'a.sock')).ino, ino)
    assert.equal((await exchange(unix, asked(session))).text, 'done')
    await daemon.logout(session)
    assert.equal((await exchange(daemon.url, asked(session))).status, 403)
  })

  test('has the earlier process finish what it has when both are told to stop, as service managers do', async (t) => {
    const { daemon, session, held, release } = await start(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    const pid = await upgrade(daemon)
    process.kill(pid, 'SIGTERM')
    process.kill(daemon.child.pid, 'SIGTERM')
    await until(() => !isAlive(pid), 'the end of the later one')
    release()
    assert.equal((await client.response()).text, 'begun and done')
    await until(() => daemon.child.hasEnded, 'the end of the earlier one')
    assert.equal(daemon.child.process.exitCode, 0)
  })

  test('makes the file of a Unix socket again that is gone, and misses none that is not wanted any more', async (t) => {
    const { daemon, session } = await start(scopeOf(t), { listen: ['127.0.0.1:0', 'unix:a.sock', 'unix:b.sock'] })
    const [a, b] = ['a.sock', 'b.sock'].map((name) => join(daemon.place.directory, name))
    assert.ok(a !== undefined && b !== undefined)
    for (const path of [a, b]) rmSync(path)
    await daemon.place.configure({ listen: ['127.0.0.1:0', 'unix:a.sock'] })
    await upgrade(daemon)
    assert.equal((await exchange(`unix:${a}`, asked(session))).text, 'done')
    assert.equal(existsSync(b), false)
  })

  test('is no illness to who asks on a connection that is kept', async (t) => {
    const metrics = `127.0.0.1:${await freePort()}`
    const { daemon, session, held, release } = await start(scopeOf(t), {
      tables: `[control]\nmetrics = "${metrics}"\n`,
    })
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    using probe = await RawClient.connect(`http://${metrics}`)
    const health = 'GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n'
    assert.equal((await probe.exchange(health)).status, 200)
    await upgrade(daemon)
    const answer = await probe.exchange(health)
    assert.deepEqual([answer.status, answer.header('connection')], [200, 'close'])
    release()
    assert.equal((await client.response()).text, 'begun and done')
  })

  test('ends streams of events, whose listeners ask again, and does not wait for them', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session } = await start(scope)
    const command = [...XENGATE, 'events', '--json', '--config', daemon.place.configuration]
    const shown = new Child(scope, process.execPath, command)
    await until(async () => {
      await exchange(daemon.url, NOTHING)
      return shown.stdout !== ''
    }, 'an event that the command line shows')
    const head = `/services/plugin/org.xengate.control/events HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n`
    const doors = [
      [daemon.url, `GET ${head}\r\n`],
      [`unix:${join(daemon.place.state, 'control.sock')}`, 'GET /control/events HTTP/1.1\r\nHost: gate\r\n\r\n'],
    ] as const
    const listen = async (): Promise<RawClient[]> => {
      const clients: RawClient[] = []
      for (const [url, request] of doors) {
        const client = await RawClient.connect(url)
        await client.send(request)
        await client.until('as they come')
        clients.push(client)
      }
      return clients
    }
    const before = await listen()
    await upgrade(daemon)
    for (const client of before) {
      await client.until('\r\n0\r\n\r\n')
      client.destroy()
    }
    await until(() => daemon.child.hasEnded, 'the end of the first')
    assert.equal((await shown.exited).code, 1)
    assert.match(shown.stderr, /has stopped, or was upgraded: it tells of no more events \[daemon-absent\]/)
    for (const client of await listen()) client.destroy()
  })

  test('is known to xengate drain and status, as long as the earlier process finishes what it had', async (t) => {
    const { daemon, session, held, release } = await start(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    // Of the process that serves then: the earlier one has the default.
    await daemon.place.configure({ tables: '[limits]\ndrain-timeout = "300ms"' })
    await upgrade(daemon)
    const earlier = daemon.child.pid
    assert.match(
      (await daemon.place.command(['status'])).stdout,
      new RegExp(`^finishing +the earlier process ${earlier},`, 'm'),
    )
    const { code, stderr } = await daemon.place.command(['drain'])
    assert.equal(code, 1)
    assert.match(stderr, new RegExp(`^the earlier process ${earlier} still finishes what it had at the upgrade$`, 'm'))
    release()
    assert.equal((await client.response()).text, 'begun and done')
    await until(() => daemon.child.hasEnded, 'the end of the first')
    const { stdout } = await daemon.place.command(['drain'])
    assert.equal(stdout, 'out of service, and nothing runs any more\n')
    assert.doesNotMatch((await daemon.place.command(['status'])).stdout, /^finishing/m)
  })

  test('goes on to tell of what earlier processes finish, and to end it, with numbers that neither fall nor double', async (t) => {
    const scope = scopeOf(t)
    const metrics = `unix:${join(await scope.directory(), 'metrics.sock')}`
    const { daemon, session } = await start(scope, { tables: `[control]\nmetrics = "${metrics}"\n` })
    const { place } = daemon
    const held = new Map<string, () => void>()
    await serveHttp(scope, place.socket(OTHER), ({ url = '' }, response) => {
      response.write('begun ')
      held.set(url.slice(url.lastIndexOf('/') + 1), () => void response.end('and done'))
    })
    const begin = async (name: string): Promise<RawClient> => {
      const client = await RawClient.connect(daemon.url)
      scope.defer(() => client.destroy())
      await client.send(
        `GET /services/plugin/${OTHER}/${name} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`,
      )
      await client.until('begun ')
      return client
    }
    interface Told {
      readonly connections: readonly { readonly id: string; readonly request: { readonly path: string } | null }[]
    }
    /** By the ends of their paths, the connections with a request. */
    const told = async (): Promise<ReadonlyMap<string, string>> => {
      const { connections } = (await place.ask('/control/connections')) as Told
      return new Map(
        connections.flatMap(({ id, request }) =>
          request === null ? [] : [[request.path.split('/').at(-1) ?? '', id]],
        ),
      )
    }
    /** Requests that are under way, and those that are over, as each says that counts them. */
    const counted = async (): Promise<readonly (readonly [now: number, over: number])[]> => {
      const scrape = await Scrape.of(metrics)
      const status = (await place.ask('/status')) as { connections: { active: number }; requests: number }
      const services = (await place.ask('/services')) as { name: string; inFlight: number; requests: number }[]
      const service = services.find(({ name }) => name === OTHER)
      assert.equal(scrape.sum('xengate_connections', { state: 'active' }), status.connections.active)
      assert.equal(scrape.sum('xengate_requests_total'), status.requests)
      return [
        [
          scrape.sum('xengate_requests_in_flight', { service: OTHER }),
          scrape.sum('xengate_requests_total', { service: OTHER }),
        ],
        [status.connections.active, service?.requests ?? -1],
        [service?.inFlight ?? -1, service?.requests ?? -1],
      ]
    }
    const count = (now: number, over: number): Promise<unknown> =>
      until(async () => (await counted()).every((one) => one[0] === now && one[1] === over), `${now} now, ${over} over`)

    const pids = [daemon.child.pid]
    const clients: RawClient[] = []
    for (const name of ['first', 'second', 'third']) {
      clients.push(await begin(name))
      if (name !== 'third') pids.push(await upgrade(daemon))
      await count(clients.length, 0)
    }
    const [first, second, third] = clients
    assert.deepEqual([...(await told()).keys()].toSorted(), ['first', 'second', 'third'])
    // The one in the middle has nothing to finish any more, and what the first one tells goes by it.
    held.get('second')?.()
    await second?.until('and done')
    await count(2, 1)
    const { code, stderr } = await place.command(['connection', 'end', (await told()).get('first') ?? ''])
    assert.equal(code, 0, stderr)
    assert.doesNotMatch((await first?.end())?.toString() ?? '', /done/)
    await count(1, 2)
    await until(() => pids.slice(0, 2).every((pid) => !isAlive(pid)), 'the end of the earlier processes')
    await count(1, 2)
    held.get('third')?.()
    await third?.until('and done')
    await count(0, 3)
    const scrape = await Scrape.of(metrics)
    assert.equal(scrape.sum('xengate_config_last_reload_successful'), 1)
    assert.ok(Math.abs(scrape.sum('xengate_config_last_reload_success_timestamp_seconds') - Date.now() / 1000) < 60)
  })

  test('ends with its session what the first of three processes finishes', async (t) => {
    const { daemon, session, held } = await start(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    await client.until('begun ')
    for (let round = 0; round < 2; round++) await upgrade(daemon)
    const { stdout } = await daemon.place.command(['sessions', '--minimal'])
    assert.equal((await daemon.place.command(['session', 'end', stdout.trim()])).code, 0)
    assert.doesNotMatch((await client.end()).toString(), /done/)
    await until(() => !isAlive(daemon.child.pid), 'the end of the first')
  })

  test('by SIGUSR2 does the same, again and again', async (t) => {
    const { daemon, session } = await start(scopeOf(t))
    for (let round = 0; round < 2; round++) {
      process.kill(successors(daemon).at(-1) ?? daemon.child.pid, 'SIGUSR2')
      await until(() => successors(daemon)[round], 'the upgrade')
      assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    }
    const { stdout, stderr } = await daemon.place.command(['upgrade', '--json'])
    const pid = await until(() => successors(daemon)[2], 'the upgrade')
    assert.deepEqual(JSON.parse(stdout), { schema: 1, pid, version: version() }, stderr)
  })

  test('that is asked for while the daemon starts is done when it has started', async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    const child = place.spawn()
    await until(() => takesSignals(child.pid), 'the process to take signals')
    child.signal('SIGUSR2')
    const successor = await child.printed(({ stdout }) => /"successor":(\d+)/.exec(stdout)?.[1], 'the upgrade')
    await until(() => child.hasEnded, 'the end of the first')
    process.kill(Number(successor), 'SIGTERM')
    assert.equal((await child.exited).code, 0)
  })

  test('to what does not serve is refused with the reason, and the one that runs serves on', async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    await place.addDefaultUser()
    // An executable of its own, which can be exchanged.
    const node = join(place.directory, 'node')
    symlinkSync(process.execPath, node)
    const daemon = await place.start(['sh', '-c', 'shift; exec ./node "$@"', 'sh'])
    await place.configure({ tables: '[limits]\nhead-bites = 3' })
    process.kill(daemon.child.pid, 'SIGUSR2')
    const refused = await daemon.event(({ event }) => event === 'upgrade-refused', 'the refusal')
    assert.match(String(refused['problem']), /head-bites/)
    await place.configure({})
    rmSync(node)
    symlinkSync('/bin/false', node)
    const broken = await place.command(['upgrade'])
    assert.equal(broken.code, 1)
    assert.match(broken.stderr, /it ended before it served \(exit code 1\) \[upgrade-refused\]/)
    rmSync(node)
    const absent = await place.command(['upgrade'])
    assert.match(absent.stderr, /it cannot be started: .*ENOENT.* \[upgrade-refused\]/)
    assert.equal((await exchange(daemon.url, NOTHING)).status, 404)
    assert.equal((await daemon.stop()).code, 0)
  })

  test('to what gets as far as its listeners and fails leaves the files of sockets as they were', async (t) => {
    const scope = scopeOf(t)
    const listen = ['127.0.0.1:0', 'unix:a.sock']
    const { daemon, session } = await start(scope, { listen })
    const { place } = daemon
    const taken = createServer()
    scope.defer(() => void taken.close())
    const { promise: listening, resolve } = Promise.withResolvers<void>()
    const port = await freePort()
    taken.listen(port, '127.0.0.1', resolve)
    await listening
    await place.configure({ listen: [...listen, `127.0.0.1:${port}`] })
    process.kill(daemon.child.pid, 'SIGUSR2')
    const refused = await daemon.event(({ event }) => event === 'upgrade-refused', 'the refusal')
    assert.match(String(refused['problem']), new RegExp(`:${port}`))
    assert.equal((await exchange(`unix:${join(place.directory, 'a.sock')}`, asked(session))).text, 'done')
    // The XenAPI's, the control socket, the control service and the dashboard.
    await daemon.logout(await daemon.login())
    await place.ask('/status')
    const control = 'GET /services/plugin/org.xengate.control/status HTTP/1.1\r\nHost: gate\r\n'
    assert.equal((await exchange(daemon.url, `${control}Cookie: session_id=${session}\r\n\r\n`)).status, 200)
    assert.equal((await exchange(daemon.url, 'GET / HTTP/1.1\r\nHost: gate\r\n\r\n')).status, 200)
    assert.equal(existsSync(join(place.state, 'gateway.sock')), true)
  })

  test('that is under way when the daemon is told to stop is not done', async (t) => {
    const scope = scopeOf(t)
    const { daemon } = await start(scope)
    const before = childrenOf(daemon.child.pid)
    const upgraded = daemon.place.command(['upgrade'])
    const successor = await until(
      () => childrenOf(daemon.child.pid).find((pid) => !before.includes(pid)),
      'the other version',
    )
    process.kill(successor, 'SIGSTOP')
    scope.defer(() => void (isAlive(successor) && process.kill(successor, 'SIGKILL')))
    daemon.child.signal('SIGTERM')
    await until(() => daemon.child.hasEnded, 'the end of the daemon')
    assert.equal(daemon.child.process.exitCode, 0)
    await until(() => !isAlive(successor), 'the end of the other version')
    const { code, stderr } = await upgraded
    assert.equal(code, 1)
    assert.match(stderr, /upgrade-refused/)
  })

  test('has the earlier process answer alone until the later one serves, and after one that does not', async (t) => {
    const scope = scopeOf(t)
    const metrics = `127.0.0.1:${await freePort()}`
    const { daemon } = await start(scope, { tables: `[control]\nmetrics = "${metrics}"\n` })
    const { place, child } = daemon
    const before = childrenOf(child.pid)
    const upgraded = place.command(['upgrade'])
    const worker = await until(() => {
      const successor = childrenOf(child.pid).find((pid) => !before.includes(pid))
      return childrenOf(successor)[0]
    }, 'a worker of the other version')
    process.kill(worker, 'SIGSTOP')
    scope.defer(() => void (isAlive(worker) && process.kill(worker, 'SIGKILL')))
    const see = async (): Promise<void> => {
      for (let round = 0; round < 30; round++) {
        const health = await exchange(`http://${metrics}`, 'GET /healthz HTTP/1.1\r\nHost: gate\r\n\r\n')
        assert.equal(health.status, 200)
        assert.equal(((await place.ask('/status')) as { pid: number }).pid, child.pid)
      }
    }
    await see()
    process.kill(worker, 'SIGKILL')
    assert.match((await upgraded).stderr, /a worker died before it was ready.* \[upgrade-refused\]/)
    await see()
    await daemon.logout(await daemon.login())
  })

  test('to another version, to which a link leads by now, and back', async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    const [one, two, current] = ['one', 'two', 'current'].map((name) => join(place.directory, name))
    assert.ok(one !== undefined && two !== undefined && current !== undefined)
    await bundle(one)
    cpSync(one, two, { recursive: true })
    const manifest = join(two, 'package.json')
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(/"version": "[^"]*"/, '"version": "99.0.0"'))
    const lead = (to: string): void => {
      rmSync(current, { force: true })
      symlinkSync(to, current)
    }
    lead(one)
    const argv = [join(current, 'dist/main.js'), 'serve', '--config', place.configuration]
    const daemon = new Daemon(place, new Child(scope, process.execPath, argv, { cwd: place.directory }))
    await daemon.event(({ event }) => event === 'started', 'the start')
    scope.defer(() => endSuccessors(daemon))
    using kept = await RawClient.connect(daemon.url)
    const serving = async (): Promise<unknown> => ((await place.ask('/status')) as { version: unknown }).version
    const before = await serving()
    lead(two)
    await upgrade(daemon)
    assert.equal(await serving(), '99.0.0')
    assert.equal((await kept.exchange(NOTHING)).status, 404)
    lead(one)
    await upgrade(daemon)
    assert.equal(await serving(), before)
    assert.equal((await kept.exchange(NOTHING)).status, 404)
  })

  test('ends what a session has under way in the earlier processes when it ends in the latest one', async (t) => {
    const scope = scopeOf(t)
    const { daemon, session, held } = await start(scope)
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    await client.until('begun ')
    using other = await RawClient.connect(daemon.url)
    await upgrade(daemon)
    await other.send(asked(session, '/held'))
    await other.until('begun ')
    await upgrade(daemon)
    await daemon.logout(session)
    assert.doesNotMatch((await other.end()).toString(), /done/)
    assert.doesNotMatch((await client.end()).toString(), /done/)
  })

  test('ends it in both when the command line ends it, whoever of them sees that first', async (t) => {
    const { daemon, session, held } = await start(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    await client.until('begun ')
    await upgrade(daemon)
    using other = await RawClient.connect(daemon.url)
    assert.equal((await other.exchange(asked(session))).status, 200)
    const { stdout } = await daemon.place.command(['sessions', '--minimal'])
    const ended = await daemon.place.command(['session', 'end', stdout.trim()])
    assert.equal(ended.code, 0, ended.stderr)
    assert.doesNotMatch((await client.end()).toString(), /done/)
    await until(async () => (await other.exchange(asked(session))).status === 403, 'the end in the later one')
  })

  test('leaves nobody listening at a listener that a reload removes afterwards', async (t) => {
    const scope = scopeOf(t)
    const port = await freePort()
    const settings = { workers: 2, listen: ['127.0.0.1:0', `127.0.0.1:${port}`] }
    const { daemon } = await start(scope, settings)
    await upgrade(daemon)
    await until(() => daemon.child.hasEnded, 'the end of the first')
    assert.equal((await exchange(`http://127.0.0.1:${port}`, NOTHING)).status, 404)
    await daemon.place.configure({ ...settings, listen: ['127.0.0.1:0'] })
    const { code, stderr } = await daemon.place.command(['reload'])
    assert.equal(code, 0, stderr)
    await assert.rejects(RawClient.connect(`http://127.0.0.1:${port}`), /ECONNREFUSED/)
  })

  test('loses no count, and adds none twice', async (t) => {
    const scope = scopeOf(t)
    const path = join(await scope.directory(), 'metrics.sock')
    const { daemon, session } = await start(scope, { tables: `[control]\nmetrics = "unix:${path}"\n` })
    const requests = async (): Promise<number> => {
      return (await Scrape.of(`unix:${path}`)).sum('xengate_requests_total', { service: NAME, code: '2xx' })
    }
    for (let count = 0; count < 5; count++) await exchange(daemon.url, asked(session, '', 'Connection: close\r\n'))
    await until(async () => (await requests()) === 5, 'what was counted')
    for (let round = 1; round <= 2; round++) {
      await upgrade(daemon)
      assert.equal(await requests(), 4 + round)
      await exchange(daemon.url, asked(session, '', 'Connection: close\r\n'))
      await until(async () => (await requests()) === 5 + round, 'one more')
    }
    await until(() => daemon.child.hasEnded, 'the end of the first')
    assert.equal(await requests(), 7)
  })

  test('tells the service manager which process is the one', async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    const path = join(place.directory, 'notify')
    const manager = await startManager(scope, path)
    const daemon = await place.start(['env', `NOTIFY_SOCKET=${path}`, 'WATCHDOG_USEC=400000'])
    const pid = await upgrade(daemon)
    scope.defer(() => void process.kill(pid, 'SIGTERM'))
    const said = /b'RELOADING=1\\nMONOTONIC_USEC=\d+\\n[^]*b'READY=1\\nMAINPID=(\d+)\\n/
    const [, main] = await manager.printed(({ stdout }) => said.exec(stdout) ?? undefined, 'the other process')
    assert.equal(Number(main), pid)
    await until(() => daemon.child.hasEnded, 'the end of the first')
    const { length } = manager.stdout
    await manager.printed(({ stdout }) => stdout.slice(length).includes("b'WATCHDOG=1'") || undefined, 'signs of life')
  })
})

describe('clients', { timeout: 300_000 }, () => {
  for (const address of ['127.0.0.1:0', 'unix:gate.sock'])
    test(`at ${address} notice nothing of reloads that need other workers, and of upgrades: requests, channels and WebSockets`, async (t) => {
      const scope = scopeOf(t)
      const settings = { workers: 2, listen: [address] }
      const { daemon, session } = await start(scope, settings)
      await startChannelServices(scope, daemon.place.plugin, CHANNEL)
      await echoUpgrades(scope, daemon.place.socket(TUNNEL))
      const requests = {
        url: daemon.url,
        request: asked(session),
        answer: '\r\n\r\ndone',
        kept: 60,
        pauseMs: 20,
        fresh: 4,
      }
      const all = [
        requests,
        channelClients(daemon.url, session, CHANNEL, 10),
        tunnelClients(daemon.url, session, TUNNEL, 10),
      ].map((options) => new Traffic(options))
      const more = (): Promise<unknown> =>
        Promise.all(all.map((traffic, index) => traffic.more(index === 0 ? 500 : 50)))
      scope.defer(async () => void (await Promise.all(all.map((traffic) => traffic.stop()))))
      await more()
      for (let round = 1; round <= 6; round++) {
        const isUpgrade = round % 3 === 0
        if (isUpgrade) await upgrade(daemon)
        else {
          const transport = round % 2 === 0 ? 'net' : 'ring'
          await daemon.place.configure({ ...settings, workers: 1 + (round % 3), transport })
          const { code, stderr } = await daemon.place.command(['reload'])
          assert.equal(code, 0, stderr)
        }
        await more()
      }
      for (const traffic of all) {
        const { answered, ...wrong } = await traffic.stop()
        assert.deepEqual(wrong, { refused: 0, reset: 0, lost: 0, ended: 0 }, traffic.troubles.join('\n'))
        assert.ok(answered >= 350)
      }
    })
})

test('a kept connection goes on in other workers as the client that a header told of, on either transport', async (t) => {
  const scope = scopeOf(t)
  const listen = ['127.0.0.1:0', { address: '127.0.0.2:0', keys: 'proxy-protocol = true' }]
  const { daemon, session } = await start(scope, { listen, transport: 'net' })
  const settings = (transport: string): DaemonSettings => ({ listen, transport })
  await serveHttp(scope, daemon.place.socket(OTHER), ({ headers }, response) => {
    response.end(String(headers['x-forwarded-for']))
  })
  const request = asked(session).replace(NAME, OTHER)
  using told = await RawClient.connect(daemon.urls[1] ?? '')
  using plain = await RawClient.connect(daemon.url)
  using unused = await RawClient.connect(daemon.url)
  await told.send('PROXY TCP4 203.0.113.9 127.0.0.1 4444 80\r\n')
  const serve = async (): Promise<void> => {
    for (const [client, address] of [
      [told, '203.0.113.9'],
      [plain, '127.0.0.1'],
    ] as const) {
      const answer = await client.exchange(request)
      assert.deepEqual([answer.text, answer.header('connection')], [address, undefined])
    }
  }
  await serve()
  for (const transport of ['ring', 'auto', 'net']) {
    const seen = daemon.events.filter(({ event }) => event === 'worker-stopped').length
    await daemon.place.configure(settings(transport))
    daemon.child.signal('SIGHUP')
    await until(
      () => daemon.events.filter(({ event }) => event === 'worker-stopped').length > seen,
      'the end of the earlier worker',
    )
    await serve()
  }
  await upgrade(daemon)
  await until(() => daemon.child.hasEnded, 'the end of the first')
  await serve()
  assert.equal((await unused.exchange(request)).text, '127.0.0.1')
  assert.ok(!told.hasEnded && !plain.hasEnded)
})

test('an idle connection at a listener that a reload takes away has a moment for its last request', async (t) => {
  const { daemon, session } = await start(scopeOf(t), { listen: ['127.0.0.1:0', 'unix:a.sock'] })
  using client = await RawClient.connect(daemon.urls[1] ?? '')
  assert.equal((await client.exchange(asked(session))).text, 'done')
  await daemon.place.configure({ listen: ['127.0.0.1:0'] })
  daemon.child.signal('SIGHUP')
  await daemon.event(({ event }) => event === 'reloaded', 'the reload')
  const last = await client.exchange(asked(session))
  assert.deepEqual([last.text, last.header('connection')], ['done', 'close'])
})

describe('sockets of the service manager', { timeout: 300_000 }, () => {
  for (const names of ['', 'one:two'])
    test(`are used ${names === '' ? 'without' : 'with'} names, stay when the daemon stops, and go on in an upgrade`, async (t) => {
      const scope = scopeOf(t)
      const port = await freePort()
      const place = await Place.make(scope, { listen: [`127.0.0.1:${port}`, 'unix:a.sock'] })
      const path = join(place.directory, 'a.sock')
      const daemon = await place.start(['python3', '-c', ACTIVATE, String(port), path, names])
      assert.equal((await exchange(`http://127.0.0.1:${port}`, NOTHING)).status, 404)
      assert.equal((await exchange(`unix:${path}`, NOTHING)).status, 404)
      const pid = await upgrade(daemon)
      await until(() => daemon.child.hasEnded, 'the end of the first')
      assert.equal((await exchange(`unix:${path}`, NOTHING)).status, 404)
      assert.equal((await exchange(`http://127.0.0.1:${port}`, NOTHING)).status, 404)
      process.kill(pid, 'SIGTERM')
      await until(() => !isAlive(pid), 'the end of the second')
      assert.ok(statSync(path).isSocket(), 'the file is not the daemon’s')
    })
})
