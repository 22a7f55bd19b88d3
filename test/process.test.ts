// The daemon's processes: crashes, signals, reloads, listeners.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, rmSync, type Stats, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { isAlive } from './harness/child.ts'
import { type Daemon, type DaemonSettings, Place, startDaemon, USER, OTHER_TRANSPORT } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { listen, serveHttp } from './harness/services.ts'

const NAME = 'com.example.work'

function asked(session: string, path = ''): string {
  return `GET /services/plugin/${NAME}${path} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n\r\n`
}

/** A daemon, a session, and a service that answers at once, or below `/held` when `release` is called. */
async function startWork(
  scope: Scope,
  settings: DaemonSettings = {},
): Promise<{ daemon: Daemon; session: string; held: Promise<void>; release: () => void }> {
  const daemon = await startDaemon(scope, settings)
  const held = Promise.withResolvers<void>()
  const release = Promise.withResolvers<void>()
  await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
    if (request.url?.endsWith('/held') !== true) {
      response.end('done')
      return
    }
    response.write('begun ')
    held.resolve()
    void release.promise.then(() => response.end('and done'))
  })
  return { daemon, session: await daemon.login(), held: held.promise, release: () => release.resolve() }
}

/** What became of the requests of one connection. */
interface Load {
  completed: number
  /** Connections that broke: while a request was under way, or between two. */
  broken: { readonly isInFlight: boolean; readonly text: string }[]
  /** Responses that were not what the service sends. */
  wrong: string[]
}

/** Sends requests on `connections` kept connections, one after the other, until told to stop; a broken one is replaced. */
class LoadMaker {
  readonly load: Load = { completed: 0, broken: [], wrong: [] }
  readonly #running: Promise<void>[]
  #isStopping = false

  constructor(url: string, session: string, connections: number) {
    this.#running = Array.from({ length: connections }, () => this.#run(url, session))
  }

  async #run(url: string, session: string): Promise<void> {
    while (!this.#isStopping) {
      using client = await RawClient.connect(url)
      let isInFlight = false
      try {
        while (!this.#isStopping) {
          isInFlight = false
          if (client.hasEnded) break // told so, between two requests: nothing is lost
          const sent = client.send(asked(session))
          isInFlight = true
          await sent
          const response = await client.response()
          if (response.text !== 'done') this.load.wrong.push(response.head)
          else this.load.completed++
          if (response.header('connection') === 'close') break
        }
      } catch (error) {
        this.load.broken.push({ isInFlight, text: String(error) })
      }
    }
  }

  /** Waits until this many more requests are complete. */
  async more(count: number): Promise<void> {
    const wanted = this.load.completed + count
    await until(() => this.load.completed >= wanted, `${count} more requests under load`)
  }

  async stop(): Promise<Load> {
    this.#isStopping = true
    await within(Promise.all(this.#running), 'the load to end')
    return this.load
  }
}

describe('a worker that is killed', { timeout: 300_000 }, () => {
  test('under load fails only what was in flight there, and is replaced', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t), { workers: 2 })
    const connections = 16
    const maker = new LoadMaker(daemon.url, session, connections)
    await maker.more(500)
    const [victim = 0] = daemon.workerPids
    process.kill(victim, 'SIGKILL')
    await daemon.event(({ event, worker }) => event === 'worker-died' && worker === victim, 'the death')
    // The next connection works at once, whether or not the replacement is there yet.
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    await daemon.child.printed(() => (daemon.workerPids.length === 3 ? true : undefined), 'the replacement')
    await maker.more(500)
    const load = await maker.stop()
    assert.deepEqual(load.wrong, [])
    // Each connection had one request in flight, so each can have failed once; and those of the other worker did not.
    assert.ok(load.broken.length <= connections, JSON.stringify(load.broken))
    assert.ok(
      load.broken.every(({ text }) => /ended before|ECONNRESET|EPIPE/.test(text)),
      JSON.stringify(load.broken),
    )
    assert.ok(!daemon.workerPids.slice(1).includes(victim))
    assert.equal((await daemon.stop()).code, 0)
  })

  test('takes no request of the other worker along', async (t) => {
    const { daemon, session, held, release } = await startWork(scopeOf(t), { workers: 2 })
    using client = await RawClient.connect(daemon.url)
    const before = requestsOf(daemon)
    await client.exchange(asked(session))
    const served = await until(() => requestsOf(daemon)[before.length], 'the request in the log')
    await client.send(asked(session, '/held'))
    await held
    const other = daemon.workerPids.find((pid) => pid !== served['pid']) ?? 0
    process.kill(other, 'SIGKILL')
    await daemon.event(({ event }) => event === 'worker-died', 'the death')
    release()
    assert.equal((await client.response()).text, 'begun and done')
  })

  test('knows its sessions again', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t))
    process.kill(daemon.workerPids[0] ?? 0, 'SIGKILL')
    // Connections wait in the kernel's queue until the new worker is there.
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
  })
})

function requestsOf(daemon: Daemon): Daemon['events'] {
  return daemon.events.filter(({ event, service }) => event === 'request' && service === NAME)
}

describe('a primary that is killed', { timeout: 300_000 }, () => {
  test('takes its workers along, so that nobody admits what it cannot know', async (t) => {
    const { daemon } = await startWork(scopeOf(t), { workers: 2 })
    daemon.child.signal('SIGKILL')
    await daemon.child.exited
    for (const pid of daemon.workerPids) await until(() => !isAlive(pid), `the end of worker ${pid}`)
    // The kernel takes a ring apart, and with it what listens, a moment after its process has ended.
    await until(() => isRefused(daemon.url), 'the end of what listens')
    const again = await daemon.place.start()
    assert.equal((await again.stop()).code, 0)
  })
})

/** Whether nobody listens there. */
async function isRefused(url: string): Promise<boolean> {
  try {
    using _client = await RawClient.connect(url)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED'
  }
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  describe(signal, { timeout: 60_000 }, () => {
    test('lets a request finish, takes no more, and ends with 0', async (t) => {
      const { daemon, session, held, release } = await startWork(scopeOf(t), { workers: 2 })
      using client = await RawClient.connect(daemon.url)
      await client.send(asked(session, '/held'))
      await held
      await client.until('begun ')
      using idle = await RawClient.connect(daemon.url)
      await idle.exchange(asked(session))
      daemon.child.signal(signal)
      await idle.end() // a kept connection without a request is closed
      await until(async () => !(await canConnect(daemon.url)), 'the port to be closed', 5000)
      assert.ok(!daemon.child.hasEnded)
      release()
      await client.until('and done')
      for (const one of [client, idle]) one.destroy()
      assert.deepEqual(await within(daemon.child.exited, 'the end', 5000), { code: 0, signal: null })
      assert.equal(daemon.events.at(-1)?.event, 'stopped')
    })
  })
}

/** Whether somebody listens there. */
async function canConnect(url: string): Promise<boolean> {
  try {
    const client = await RawClient.connect(url)
    client.destroy()
    return true
  } catch {
    return false
  }
}

/** Signals that are this far apart are two: closer together they may be one that arrived twice. */
const SECOND_SIGNAL_MS = 500

describe('stopping', { timeout: 300_000 }, () => {
  test('a second SIGTERM ends at once what is under way', async (t) => {
    const { daemon, session, held } = await startWork(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    daemon.child.signal('SIGTERM')
    await daemon.event(({ event }) => event === 'stopping', 'the first signal')
    // Nothing is waited for here: the distance between the two is what makes them two.
    await setTimeout(SECOND_SIGNAL_MS)
    daemon.child.signal('SIGTERM')
    assert.deepEqual(await within(daemon.child.exited, 'the end', 5000), { code: 0, signal: null })
    await client.end()
  })

  test('one Ctrl-C that arrives twice is one signal', async (t) => {
    const { daemon, session, held, release } = await startWork(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    daemon.child.signal('SIGINT')
    daemon.child.signal('SIGINT')
    await daemon.event(({ event }) => event === 'stopping', 'the signal')
    release()
    assert.equal((await client.response()).text, 'begun and done')
    client.destroy()
    assert.deepEqual(await within(daemon.child.exited, 'the end', 5000), { code: 0, signal: null })
  })

  test('an earlier configuration that is still finishing finishes too', async (t) => {
    const { daemon, session, held, release } = await startWork(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    await daemon.place.configure({ transport: OTHER_TRANSPORT })
    daemon.child.signal('SIGHUP')
    await daemon.event(({ event }) => event === 'reloaded', 'the reload')
    daemon.child.signal('SIGTERM')
    await daemon.event(({ event }) => event === 'stopping', 'the signal')
    release()
    assert.equal((await client.response()).text, 'begun and done')
    client.destroy()
    assert.deepEqual(await within(daemon.child.exited, 'the end', 5000), { code: 0, signal: null })
  })

  test('what is not finished at the drain timeout is cut', async (t) => {
    const settings = { tables: '[limits]\ndrain-timeout = "200ms"' }
    const { daemon, session, held } = await startWork(scopeOf(t), settings)
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    daemon.child.signal('SIGTERM')
    assert.equal((await within(daemon.child.exited, 'the end')).code, 0)
    assert.doesNotMatch((await client.end()).toString(), /0\r\n\r\n/)
  })
})

describe('SIGHUP', { timeout: 300_000 }, () => {
  const denied: DaemonSettings = { workers: 2, tables: `[services.policy."${NAME}"]\nroles = { PUT = ["pool-admin"] }` }

  test('puts a new configuration in force, and loses no request under load', async (t) => {
    const scope = scopeOf(t)
    const settings: DaemonSettings = { workers: 2, services: 'methods = ["GET", "PUT"]' }
    const { daemon, session } = await startWork(scope, settings)
    const url = daemon.url
    const maker = new LoadMaker(url, session, 8)
    await maker.more(300)
    for (const round of [1, 2, 3]) {
      await daemon.place.configure({ ...settings, services: 'methods = ["GET"]' })
      daemon.child.signal('SIGHUP')
      await daemon.child.printed(() => (countOf(daemon, 'reloaded') === round ? true : undefined), 'the reload')
      const put = asked(session).replace('GET', 'PUT')
      await until(async () => (await exchange(url, put)).status === 405, 'the new configuration')
      await maker.more(100)
    }
    const load = await maker.stop()
    assert.deepEqual(load.wrong, [])
    assert.deepEqual(
      load.broken.filter(({ isInFlight }) => isInFlight),
      [],
    )
  })

  test('puts a new policy in force', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t), { workers: 2 })
    assert.equal((await exchange(daemon.url, asked(session))).status, 200)
    await daemon.place.configure(denied)
    daemon.child.signal('SIGHUP')
    await daemon.event(({ event }) => event === 'reloaded', 'the reload')
    await until(async () => (await exchange(daemon.url, asked(session))).status === 403, 'the new policy')
  })

  test('lets what is under way finish with the old configuration', async (t) => {
    const { daemon, session, held, release } = await startWork(scopeOf(t))
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    await daemon.place.configure(denied)
    daemon.child.signal('SIGHUP')
    await daemon.event(({ event }) => event === 'reloaded', 'the reload')
    release()
    assert.equal((await client.response()).text, 'begun and done')
  })

  test('ends sessions on the workers of the new configuration too', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t))
    await daemon.place.configure({ transport: OTHER_TRANSPORT })
    daemon.child.signal('SIGHUP')
    await daemon.event(({ event }) => event === 'reloaded', 'the reload')
    using client = await RawClient.connect(daemon.url)
    assert.equal((await client.exchange(asked(session))).status, 200)
    await daemon.logout(session)
    assert.equal((await client.exchange(asked(session))).status, 403)
  })

  test('that takes a listener back while it is still being given up keeps it, and its workers can be replaced', async (t) => {
    const { daemon, session, held, release } = await startWork(scopeOf(t), { listen: ['127.0.0.1:0', 'unix:a.sock'] })
    const unix = `unix:${join(daemon.place.directory, 'a.sock')}`
    using client = await RawClient.connect(daemon.url)
    await client.send(asked(session, '/held'))
    await held
    const reload = async (addresses: string[]): Promise<void> => {
      // The first worker finishes beside the second, which takes the rest.
      await daemon.place.configure({ listen: addresses, transport: OTHER_TRANSPORT })
      const seen = daemon.events.filter(({ event }) => event === 'reloaded').length
      daemon.child.signal('SIGHUP')
      await until(() => daemon.events.filter(({ event }) => event === 'reloaded').length > seen, 'the reload')
    }
    await reload(['127.0.0.1:0'])
    await reload(['127.0.0.1:0', 'unix:a.sock'])
    release()
    assert.equal((await client.response()).text, 'begun and done')
    await until(() => daemon.events.some(({ event }) => event === 'worker-stopped'), 'the first workers to be gone')
    const ready = daemon.events.filter(({ event }) => event === 'worker-ready')
    process.kill(Number(ready.at(-1)?.['worker']), 'SIGKILL')
    await until(
      () => daemon.events.filter(({ event }) => event === 'worker-ready').length > ready.length,
      'the worker to be replaced',
    )
    assert.equal((await exchange(unix, asked(session))).text, 'done')
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
  })

  test('with a file that is not valid changes nothing, and says why in the log', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t))
    await daemon.place.configure({ tables: '[limits]\nhead-bites = 3' })
    daemon.child.signal('SIGHUP')
    const event = await daemon.event(({ event: name }) => name === 'reload-refused', 'the refusal')
    assert.match(String(event['problem']), /head-bites.*head-bytes/)
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    await daemon.place.configure({})
    daemon.child.signal('SIGHUP')
    await daemon.event(({ event: name }) => name === 'reloaded', 'the reload')
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
  })

  test('just before SIGTERM leaves no listener behind', async (t) => {
    const { daemon } = await startWork(scopeOf(t))
    const path = join(daemon.place.directory, 'late.sock')
    await daemon.place.configure({ listen: ['127.0.0.1:0', 'unix:late.sock'] })
    daemon.child.signal('SIGHUP')
    daemon.child.signal('SIGTERM')
    assert.deepEqual(await daemon.child.exited, { code: 0, signal: null })
    assert.ok(!existsSync(path), 'the socket of the new configuration is gone, or was never there')
  })

  test('adds a listener and takes one away', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t), { listen: ['127.0.0.1:0', 'unix:a.sock'] })
    const unix = (name: string): string => `unix:${join(daemon.place.directory, name)}`
    assert.deepEqual(daemon.urls.slice(1), [unix('a.sock')])
    assert.equal((await exchange(unix('a.sock'), asked(session))).text, 'done')
    await daemon.place.configure({ listen: ['127.0.0.1:0', 'unix:b.sock'] })
    daemon.child.signal('SIGHUP')
    await daemon.event(({ event }) => event === 'reloaded', 'the reload')
    assert.equal((await exchange(unix('b.sock'), asked(session))).text, 'done')
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    await until(async () => !(await canConnect(unix('a.sock'))), 'the old listener to be gone')
  })
})

function countOf(daemon: Daemon, name: string): number {
  return daemon.events.filter(({ event }) => event === name).length
}

describe('a Unix listener', { timeout: 300_000 }, () => {
  const listener: DaemonSettings = { listen: ['unix:gate.sock'] }

  test('serves, and its file goes when the daemon does', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t), listener)
    assert.equal(daemon.url, `unix:${join(daemon.place.directory, 'gate.sock')}`)
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    assert.equal((await daemon.stop()).code, 0)
    await assert.rejects(RawClient.connect(daemon.url), { code: 'ENOENT' })
  })

  test('has the mode, owner and group that it is given, also after a reload', async (t) => {
    const keys = 'mode = "0640"\ngroup = "nogroup"\nowner = 1'
    const { daemon } = await startWork(scopeOf(t), {
      listen: [
        { address: 'unix:gate.sock', keys: '' },
        { address: 'unix:told.sock', keys: 'proxy-protocol = true' },
      ],
    })
    const fileOf = (name: string): Stats => statSync(join(daemon.place.directory, name))
    assert.equal(fileOf('gate.sock').mode & 0o777, 0o666)
    // Who connects there can claim any address.
    assert.equal(fileOf('told.sock').mode & 0o777, 0o600)
    if (process.getuid?.() !== 0) return
    await daemon.place.configure({ listen: [{ address: 'unix:gate.sock', keys }] })
    daemon.child.signal('SIGHUP')
    await daemon.event(({ event }) => event === 'reloaded', 'the reload')
    const { mode, uid, gid } = fileOf('gate.sock')
    const group = execFileSync('getent', ['group', 'nogroup'], { encoding: 'utf8' }).split(':')[2]
    assert.deepEqual([mode & 0o777, uid, gid], [0o640, 1, Number(group)])
    await daemon.place.configure({ listen: [{ address: 'unix:gate.sock', keys: 'owner = "nobody-at-all"' }] })
    daemon.child.signal('SIGHUP')
    const { problem } = await daemon.event(({ event }) => event === 'reload-refused', 'the refusal')
    assert.match(String(problem), /there is no nobody-at-all in \/etc\/passwd/)
    assert.equal(fileOf('gate.sock').uid, 1)
  })

  test('gives mode and owner to no other file that is in its place by then', async (t) => {
    const scope = scopeOf(t)
    const { daemon } = await startWork(scope, { listen: ['127.0.0.1:0', 'unix:gate.sock'] })
    const path = join(daemon.place.directory, 'gate.sock')
    rmSync(path)
    const other = createServer()
    scope.defer(() => void other.close())
    await listen(other, path)
    chmodSync(path, 0o600)
    await daemon.place.configure({ listen: ['127.0.0.1:0', { address: 'unix:gate.sock', keys: 'mode = "0777"' }] })
    const { code, stderr } = await daemon.place.command(['reload'])
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.equal(code, 1)
    assert.match(stderr, /cannot give unix:\S+gate\.sock its owner and mode: its file is gone/)
  })

  test('replaces the file of one that was killed', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t), listener)
    daemon.child.signal('SIGKILL')
    await daemon.child.exited
    await until(async () => {
      const code = await RawClient.connect(daemon.url).then(
        () => '',
        (error: NodeJS.ErrnoException) => error.code,
      )
      return code === 'ECONNREFUSED'
    }, 'the workers to be gone, and the file to stay')
    const again = await daemon.place.start()
    assert.equal((await exchange(again.url, asked(session))).text, 'done')
  })

  test('never takes the place of a live one', async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope, listener)
    const server = createServer((socket) => {
      socket.on('error', () => {}) // whoever looks only whether somebody is there
      socket.end('mine')
    })
    scope.defer(() => void server.close())
    await listen(server, join(place.directory, 'gate.sock'))
    const child = place.spawn()
    assert.equal((await within(child.exited, 'the end')).code, 1)
    assert.match(child.stderr, /cannot listen on unix:.*gate\.sock: another program is listening there/)
    assert.doesNotMatch(child.stdout, /ready/)
    using client = await RawClient.connect(`unix:${join(place.directory, 'gate.sock')}`)
    assert.equal((await client.end()).toString(), 'mine')
  })

  test('never removes a file that is no socket', async (t) => {
    const place = await Place.make(scopeOf(t), { listen: ['unix:xengate.toml'] })
    const child = place.spawn()
    assert.equal((await within(child.exited, 'the end')).code, 1)
    assert.match(child.stderr, /a file that is no socket is there/)
    assert.match(await readFile(place.configuration, 'utf8'), /listen/)
  })
})

describe('a start that cannot be', { timeout: 300_000 }, () => {
  test('a second daemon on the same state directory is refused, and the first goes on', async (t) => {
    const { daemon, session } = await startWork(scopeOf(t))
    const second = daemon.place.spawn()
    assert.equal((await within(second.exited, 'the end')).code, 1)
    assert.match(second.stderr, /another xengate is running with it \[state-busy\]/)
    assert.doesNotMatch(second.stdout, /ready/)
    assert.equal((await exchange(daemon.url, asked(session))).text, 'done')
    assert.match(await daemon.login(), /^OpaqueRef:/)
  })

  test('a port that is in use is refused with its address', async (t) => {
    const scope = scopeOf(t)
    const { daemon } = await startWork(scope)
    const address = new URL(daemon.url).host
    const place = await Place.make(scope, { listen: [address] })
    const child = place.spawn()
    assert.equal((await within(child.exited, 'the end')).code, 1)
    assert.match(child.stderr, new RegExp(`cannot listen on ${address}: the address is in use`))
    assert.doesNotMatch(child.stdout, /ready/)
  })

  test('a configuration that is not valid is refused with its line', async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope, { tables: '[limits]\nconnections = "many"' })
    const child = place.spawn()
    assert.equal((await within(child.exited, 'the end')).code, 1)
    assert.match(child.stderr, /limits\.connections/)
    const checked = await place.command(['check-config'])
    assert.equal(checked.code, 1)
    assert.match(checked.stderr, /xengate\.toml:\d+: .*limits\.connections/)
  })

  test('standard output that nobody reads does not keep it from serving', async (t) => {
    const scope = scopeOf(t)
    const place = await Place.make(scope)
    const child = place.spawn()
    const url = await child.printed(({ stderr }) => /^xengate ready at (\S+)$/m.exec(stderr)?.[1], 'the ready line')
    child.process.stdout?.destroy()
    for (let count = 0; count < 50; count++) {
      assert.equal((await exchange(url, 'GET /nothing HTTP/1.1\r\nHost: gate\r\n\r\n')).status, 404)
    }
  })
})

test('a primary that hears nothing is not trusted for longer than the grace', { timeout: 30_000 }, async (t) => {
  const { daemon, session } = await startWork(scopeOf(t), { tables: '[sessions]\nstale-grace = "1s"' })
  using client = await RawClient.connect(daemon.url)
  const status = async (): Promise<number> => (await client.exchange(asked(session))).status
  assert.equal(await status(), 200)
  daemon.child.signal('SIGSTOP')
  const stoppedMs = performance.now()
  try {
    await until(async () => (await status()) === 503, 'the session not to be admitted')
    t.diagnostic(`503 after ${Math.round(performance.now() - stoppedMs)} ms with a grace of 1000`)
  } finally {
    daemon.child.signal('SIGCONT')
  }
  await until(async () => (await status()) === 200, 'the session to be admitted again')
})

test('the control socket says who is held up by wrong passwords, and clears it', { timeout: 30_000 }, async (t) => {
  const { daemon } = await startWork(scopeOf(t))
  const path = join(daemon.place.state, 'control.sock')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  const ask = async (method: string, target: string): Promise<unknown> =>
    JSON.parse(
      (await exchange(`unix:${path}`, `${method} ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)).text,
    )
  assert.deepEqual(await ask('GET', '/held-up'), [])
  for (let time = 0; time < 5; time++) await assert.rejects(daemon.login(USER.name, 'wrong'))
  const heldUp = (await ask('GET', '/held-up')) as { kind: string; name: string | null; address: string | null }[]
  assert.deepEqual(
    heldUp.map(({ kind, name, address }) => [kind, name, address]),
    [
      ['address', null, '127.0.0.1'],
      ['name-at-address', USER.name, '127.0.0.1'],
    ],
  )
  assert.deepEqual(await ask('DELETE', '/held-up?address=127.0.0.1'), [])
  await daemon.login()
})

test(
  'the state directory lets services through to their socket, and a narrower one is warned of',
  { timeout: 30_000 },
  async (t) => {
    const place = await Place.make(scopeOf(t))
    await place.addUser(USER.name, USER.password, USER.role)
    assert.equal(statSync(place.state).mode & 0o777, 0o711)
    chmodSync(place.state, 0o700)
    const daemon = await place.start()
    const warning = await daemon.event(({ event }) => event === 'state-directory-narrow', 'the warning')
    assert.deepEqual([warning['level'], warning['wanted']], ['warn', '0711'])
  },
)
