// A listener with TLS, and one behind stunnel, with the real daemon and curl.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { isAlive, run } from './harness/child.ts'
import { type Daemon, Place, startDaemon } from './harness/daemon.ts'
import { until, within } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'
import { freePort, makeCertificate, startStunnel } from './harness/tls.ts'

const NAME = 'com.example.secure'
const TARGET = `/services/plugin/${NAME}`

/** A client that is at another address of the loopback than everything else. */
const FROM = '127.0.0.2'

/** The plain listener's, which is not the other's: the system chooses a port for each address. */
const PLAIN = '127.0.0.3:0'

interface Secure {
  readonly daemon: Daemon
  readonly session: string
  readonly directory: string
  /** Of the secured listener. */
  readonly url: string
}

/** A daemon that listens in plain and with TLS, and a service that says what it was told of the client. */
async function startSecure(scope: Scope): Promise<Secure> {
  const directory = await scope.directory()
  const { certificate, key } = makeCertificate(directory)
  const keys = `tls = { certificate = "${certificate}", key = "${key}" }`
  const daemon = await startDaemon(scope, { listen: [PLAIN, { address: '127.0.0.1:0', keys }] })
  await serveTold(scope, daemon)
  const [, url = ''] = daemon.urls
  return { daemon, session: await daemon.login(), directory, url }
}

async function serveTold(scope: Scope, daemon: Daemon): Promise<void> {
  await serveHttp(scope, daemon.place.socket(NAME), ({ headers }, response) => {
    response.end(`${String(headers['x-forwarded-for'])} ${String(headers['x-forwarded-proto'])}`)
  })
}

function curl(scope: Scope, argv: readonly string[]): ReturnType<typeof run> {
  return run(scope, 'curl', ['--disable', '-sS', '--max-time', '20', ...argv])
}

test('curl uses a service over TLS 1.2 and 1.3, and is refused with 1.1', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const { session, directory, url } = await startSecure(scope)
  assert.match(url, /^https:\/\/127\.0\.0\.1:\d+$/)
  const common = ['--cacert', join(directory, 'cert.pem'), '-b', `session_id=${session}`, `${url}${TARGET}`]
  for (const version of ['1.2', '1.3']) {
    const ran = await curl(scope, [`--tlsv${version}`, '--tls-max', version, ...common])
    assert.deepEqual([ran.code, ran.stdout], [0, '127.0.0.1 https'], ran.stderr)
  }
  const old = await curl(scope, ['--tlsv1.0', '--tls-max', '1.1', '--ciphers', 'DEFAULT@SECLEVEL=0', ...common])
  assert.notEqual(old.code, 0)
  assert.match(old.stderr, /alert protocol version/)
  const http2 = await curl(scope, ['--http2', '-w', ' %{http_version}', ...common])
  assert.equal(http2.stdout, '127.0.0.1 https 1.1')
})

test('a plain request at the port of TLS is told so, in plain HTTP', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const { url } = await startSecure(scope)
  const answer = await exchange(url.replace('https:', 'http:'), `GET ${TARGET} HTTP/1.1\r\nHost: gate\r\n\r\n`)
  assert.equal(answer.status, 400)
  assert.match(answer.text, /speaks HTTPS/)
})

test('a certificate is renewed by writing its files, and a broken one is kept out', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const { daemon, session, directory, url } = await startSecure(scope)
  makeCertificate(directory, 'renewed.example')
  await daemon.event(({ event }) => event === 'tls-reloaded', 'the new certificate')
  const port = new URL(url).port
  const request = ['--cacert', join(directory, 'cert.pem'), '-b', `session_id=${session}`]
  const named = ['--resolve', `renewed.example:${port}:127.0.0.1`, `https://renewed.example:${port}${TARGET}`]
  assert.equal((await curl(scope, [...request, ...named])).stdout, '127.0.0.1 https')

  // The command that one would give says which certificate is in force, whoever noticed it first.
  const listener = '127.0.0.1:0' // as it is configured
  const days = `of ${listener.replaceAll('.', '\\.')}: until \\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC, valid for \\d+d\n`
  const { place } = daemon
  assert.match(
    (await place.command(['reload'])).stdout,
    new RegExp(`^the configuration has not changed\ncertificate ${days}$`),
  )
  assert.match((await place.command(['status'])).stdout, new RegExp(`\ncertificate +${days}`))
  const { certificates } = (await place.ask('/status')) as { certificates: { listener: string; until: string }[] }
  assert.deepEqual(
    certificates.map((one) => one.listener),
    [listener],
  )
  // One that cannot be used is not in force, in the status or in the metrics.
  await writeFile(join(directory, 'cert.pem'), 'none')
  await daemon.event(({ event }) => event === 'tls-reload-refused', 'the refusal')
  const after = (await place.ask('/status')) as { certificates: unknown }
  assert.deepEqual(after.certificates, certificates)
})

/** The name of the certificate that a new connection to `url` gets. */
async function certificateAt(url: string): Promise<string | undefined> {
  const { hostname: host, port } = new URL(url)
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>()
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false }, () => {
    resolve(socket.getPeerCertificate().subjectaltname)
  })
  socket.once('error', reject)
  try {
    return await within(promise, 'a connection by TLS')
  } finally {
    socket.destroy()
  }
}

test('a reload has been answered when no worker has the earlier certificate', { timeout: 60_000 }, async (t) => {
  const { daemon, directory, url } = await startSecure(scopeOf(t))
  const [pid = 0] = daemon.workerPids
  process.kill(pid, 'SIGSTOP')
  makeCertificate(directory, 'renewed.example')
  const { code, stderr } = await daemon.place.command(['reload'])
  assert.equal(code, 0, stderr)
  assert.equal(isAlive(pid), false, 'a worker that does not confirm is ended')
  assert.equal(await certificateAt(url), 'DNS:renewed.example, IP Address:127.0.0.1')
})

test('a worker that starts while a certificate is renewed has the new one', { timeout: 60_000 }, async (t) => {
  const { daemon, directory, url } = await startSecure(scopeOf(t))
  const { place } = daemon
  const [before = 0] = daemon.workerPids
  process.kill(before, 'SIGKILL')
  const pid = await until(async () => {
    const { workers } = (await place.ask('/status')) as { workers: { ready: number; pids: number[] } }
    return workers.ready === 0 && workers.pids.find((one) => one !== before)
  }, 'the worker that starts in its place')
  process.kill(pid, 'SIGSTOP')
  assert.equal(daemon.workerPids.includes(pid), false)
  makeCertificate(directory, 'renewed.example')
  const { code, stderr } = await place.command(['reload'])
  process.kill(pid, 'SIGCONT')
  assert.equal(code, 0, stderr)
  await daemon.event(({ event, worker }) => event === 'worker-ready' && worker === pid, 'the other worker')
  assert.equal(await certificateAt(url), 'DNS:renewed.example, IP Address:127.0.0.1')
})

test('a reload brings TLS to a listener, and not when its certificate is missing', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const directory = await scope.directory()
  const port = await freePort()
  const place = await Place.make(scope, { listen: [`127.0.0.1:${port}`] })
  const daemon = await place.start()
  const keys = `tls = { certificate = "${directory}/cert.pem", key = "${directory}/key.pem" }`
  await place.configure({ listen: [{ address: `127.0.0.1:${port}`, keys }] })
  daemon.child.signal('SIGHUP')
  const refused = await daemon.event(({ event }) => event === 'reload-refused', 'the refusal')
  assert.match(String(refused['problem']), /cannot read the certificate .*cert\.pem: ENOENT/)
  assert.equal((await exchange(`http://127.0.0.1:${port}`, 'GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n')).status, 404)

  makeCertificate(directory)
  daemon.child.signal('SIGHUP')
  const reloaded = await daemon.event(({ event }) => event === 'reloaded', 'the reload')
  assert.deepEqual(reloaded['listen'], [`https://127.0.0.1:${port}`])
  const request = ['--cacert', join(directory, 'cert.pem'), '-o', '/dev/null', '-w', '%{http_code}']
  await until(async () => {
    const ran = await curl(scope, [...request, `https://127.0.0.1:${port}/nothing`])
    return ran.stdout === '404'
  }, 'workers that speak TLS alone')
})

test('a certificate that cannot be used stops the start with a reason', { timeout: 60_000 }, async (t) => {
  const scope = scopeOf(t)
  const keys = 'tls = { certificate = "none.pem", key = "key.pem" }'
  const place = await Place.make(scope, { listen: [{ address: '127.0.0.1:0', keys }] })
  const ran = await place.command(['serve'])
  assert.equal(ran.code, 1)
  assert.match(
    ran.stderr,
    /xengate\.toml:\d+: `listen\[0\]\.tls`: cannot read the certificate \/.*none\.pem: ENOENT\n.*\[config-invalid\]\ntry: /,
  )
})

for (const kind of ['a TCP port', 'a Unix socket'] as const) {
  test(
    `behind stunnel, at ${kind}, the client's address is right in log and headers`,
    { timeout: 60_000 },
    async (t) => {
      const scope = scopeOf(t)
      const files = makeCertificate(await scope.directory())
      const address = kind === 'a TCP port' ? '127.0.0.1:0' : 'unix:gate.sock'
      const daemon = await startDaemon(scope, { listen: [PLAIN, { address, keys: 'proxy-protocol = true' }] })
      await serveTold(scope, daemon)
      const session = await daemon.login()
      const [, behind = ''] = daemon.urls
      const url = await startStunnel(scope, behind.replace(/^(?:http:\/\/|unix:)/, ''), files)
      const ran = await curl(scope, ['--interface', FROM, '-k', '-b', `session_id=${session}`, `${url}${TARGET}`])
      assert.deepEqual([ran.code, ran.stdout], [0, `${FROM} http`], ran.stderr)
      const line = await daemon.event(({ service }) => service === NAME, 'the request')
      assert.deepEqual([line['client'], line['status']], [FROM, 200])

      // Whoever gets at the listener without the header is not served.
      assert.equal(
        (await curl(scope, behind.startsWith('unix:') ? ['--unix-socket', behind.slice(5), 'http://h/'] : [behind]))
          .stdout,
        '',
      )
      await until(() => daemon.events.some(({ reason }) => reason === 'proxy-header-missing'), 'the refusal in the log')
    },
  )
}
