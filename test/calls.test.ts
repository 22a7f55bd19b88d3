// The commands that call services: login, get, put, post, logout, as programs and people use them.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { run } from './harness/child.ts'
import { type Daemon, startDaemon, USER, XENGATE } from './harness/daemon.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'
import { makeCertificate } from './harness/tls.ts'

const NAME = 'com.example.store'

interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs commands, with a home of their own. */
class Shell {
  readonly directory: string
  readonly #scope: Scope

  private constructor(scope: Scope, directory: string) {
    this.#scope = scope
    this.directory = directory
  }

  static async open(scope: Scope): Promise<Shell> {
    return new Shell(scope, await scope.directory())
  }

  get sessionFile(): string {
    return join(this.directory, 'xengate/session.json')
  }

  run(argv: readonly string[], input = '', more: Readonly<Record<string, string>> = {}): Promise<Ran> {
    const { XENGATE_SESSION: _session, ...env } = process.env
    return run(this.#scope, process.execPath, [...XENGATE, ...argv], {
      cwd: this.directory,
      input,
      env: { ...env, XDG_CONFIG_HOME: this.directory, ...more },
    })
  }

  async login(url: string, ...more: readonly string[]): Promise<Ran> {
    return this.run(['login', url, '--user', USER.name, '--password-stdin', ...more], `${USER.password}\n`)
  }
}

describe('calls from the command line', { timeout: 120_000 }, () => {
  const suite = scopeOfSuite()
  let daemon: Daemon
  before(async () => {
    daemon = await startDaemon(suite)
    await serveHttp(suite, daemon.place.socket(NAME), (request, response) => {
      let body = ''
      request.setEncoding('latin1').on('data', (piece: string) => (body += piece))
      request.on('end', () => {
        const { method, url = '', headers } = request
        if (url.includes('/failing')) response.writeHead(418).end('not here')
        else if (url.includes('/broken'))
          response.writeHead(200, { 'Content-Length': 10 }).write('half', () => response.destroy())
        else
          response.end(
            [
              method,
              url.slice(NAME.length + 17),
              headers['content-type'],
              headers['content-length'],
              headers['x-own'],
              body,
            ].join('|'),
          )
      })
    })
  })

  test('login keeps a session that nobody else can read, get prints the answer alone, logout ends it', async (t) => {
    const shell = await Shell.open(scopeOf(t))
    const without = await shell.run(['get', NAME])
    assert.deepEqual([without.code, without.stdout], [4, ''])
    assert.match(without.stderr, /nobody is signed in \[session-needed\]\ntry: sign in with xengate login URL/)

    const wrong = await shell.run(['login', daemon.url, '--user', USER.name, '--password-stdin'], 'wrong\n')
    assert.deepEqual([wrong.code, wrong.stdout], [4, ''])
    assert.match(wrong.stderr, /\[sign-in-refused\]/)

    const login = await shell.login(daemon.url)
    assert.deepEqual([login.code, login.stdout], [0, ''], login.stderr)
    assert.equal(statSync(shell.sessionFile).mode & 0o777, 0o600)
    const { url, user, id } = JSON.parse(readFileSync(shell.sessionFile, 'utf8')) as Record<string, string>
    assert.deepEqual([url, user], [daemon.url, USER.name])
    assert.ok(!login.stderr.includes(id ?? ''))

    const got = await shell.run(['get', `${NAME}/a/b?c=d`, '-H', 'X-Own: mine'])
    assert.deepEqual([got.code, got.stdout, got.stderr], [0, 'GET|/a/b?c=d|||mine|', ''])
    assert.equal((await shell.run(['services', '--minimal'])).stdout, `${NAME}\n`)
    const changing = await shell.run(['connection', 'end', '1-1'])
    assert.deepEqual([changing.code, changing.stdout], [2, ''])
    assert.match(changing.stderr, /has to be named \[url-missing\]\ntry: give --url URL/)

    // Another login ends the session before it.
    await shell.login(daemon.url)
    const old = await shell.run(['get', NAME, '--url', daemon.url], '', { XENGATE_SESSION: id ?? '' })
    assert.deepEqual([old.code, old.stdout], [4, ''])
    assert.match(old.stderr, /the session is over \[session-needed\]/)

    const session = (JSON.parse(readFileSync(shell.sessionFile, 'utf8')) as { id: string }).id
    assert.equal((await shell.run(['logout'])).code, 0)
    assert.deepEqual(await readdir(join(shell.directory, 'xengate')), [])
    assert.equal((await shell.run(['get', NAME, '--url', daemon.url, '--session-id', session])).code, 4)
    assert.equal((await shell.run(['logout'])).code, 0)
  })

  test('put and post send what they are given, and -o is there whole or not at all', async (t) => {
    const shell = await Shell.open(scopeOf(t))
    await shell.login(daemon.url)
    await writeFile(join(shell.directory, 'file'), 'from a file')
    for (const [argv, input, expected] of [
      [['put', `${NAME}/x`, '-T', 'file'], '', 'PUT|/x||11||from a file'],
      [['put', `${NAME}/x`, '-T', '-'], 'from input', 'PUT|/x||||from input'],
      [['put', `${NAME}/x`, '-d', ''], '', 'PUT|/x|application/x-www-form-urlencoded|0||'],
      [['post', `${NAME}?q=1`, '-d', 'a=b'], '', 'POST|?q=1|application/x-www-form-urlencoded|3||a=b'],
      [['post', NAME, '-d', '@file', '-H', 'Content-Type: text/x'], '', 'POST||text/x|11||from a file'],
    ] as const) {
      const ran = await shell.run(argv, input)
      assert.deepEqual([ran.code, ran.stdout, ran.stderr], [0, expected, ''], argv.join(' '))
    }
    const included = await shell.run(['get', NAME, '-i'])
    assert.match(included.stdout, /^HTTP\/1\.1 200 OK\n(?:[a-z-]+: .*\n)*x-request-id: .*\n\nGET\|/)

    await writeFile(join(shell.directory, 'out'), 'before')
    assert.equal((await shell.run(['get', `${NAME}/whole`, '-o', 'out'])).stdout, '')
    assert.match(await readFile(join(shell.directory, 'out'), 'utf8'), /^GET\|\/whole/)
    const broken = await shell.run(['get', `${NAME}/broken`, '-o', 'out'])
    assert.equal(broken.code, 1)
    assert.match(
      broken.stderr,
      /the answer did not come whole to .*out, which is as it was before \(.*\[transfer-broken\]/,
    )
    assert.match(await readFile(join(shell.directory, 'out'), 'utf8'), /^GET\|\/whole/)
    assert.ok(!(await readdir(shell.directory)).some((name) => name.endsWith('.part')))
  })

  test('what fails says why on standard error, and by the exit code', async (t) => {
    const shell = await Shell.open(scopeOf(t))
    await shell.login(daemon.url)
    for (const [argv, code, text] of [
      [
        ['get', `${NAME}/failing`],
        1,
        /^not here\nxengate: com\.example\.store answers 418 I'm a Teapot \[status-418\]\n$/,
      ],
      [
        ['get', 'com.example.nobody'],
        1,
        /No such service is running.*\(request ([0-9a-f]+-[0-9a-z]+)\) \[service-unknown\]\ntry: xengate explain \1 says more/,
      ],
      [['get', '../x'], 2, /cannot be the name of a service \[service-name-invalid\]/],
      [['get', `${NAME}/../x`], 2, /is not below the service com\.example\.store \[service-name-invalid\]/],
      [['get'], 2, /missing required argument/],
      [['put', NAME, '-T', 'nothing'], 1, /cannot read .*nothing: ENOENT.* \[file-unreadable\]/],
      [['put', NAME, '-T', 'x', '-d', 'y'], 2, /cannot be used with/],
      [['put', NAME], 2, /nothing was said of what is to be put \[body-missing\]/],
      [['get', NAME, '-H', 'no field'], 2, /"no field" is not a header field \[header-invalid\]/],
      [['get', NAME, '--ca', 'nothing'], 1, /\[ca-unusable\]/],
      [
        ['get', NAME, '--url', 'http://127.0.0.1:1', '--session-id', 'x'],
        1,
        /cannot be reached.* \[gateway-unreachable\]/,
      ],
      [
        ['get', NAME, '--url', daemon.url.replace('http:', 'https:'), '--session-id', 'x'],
        1,
        /cannot be reached.* \[gateway-unreachable\]\ntry: .*give http:\/\/ in place of https:\/\//,
      ],
      [['login', 'gateway'], 2, /gateway is not the URL of a gateway \[url-invalid\]/],
      [['login', daemon.url], 2, /standard input is not a terminal \[user-missing\]/],
      [['login', daemon.url, '--user', 'x'], 2, /standard input is not a terminal \[password-unreadable\]/],
    ] as const) {
      const ran = await shell.run(argv)
      assert.deepEqual([ran.code, ran.stdout], [code, ''], `${argv.join(' ')}: ${ran.stderr}`)
      assert.match(ran.stderr, text)
      assert.ok(!/OpaqueRef|^ +at /m.test(ran.stderr))
    }
    await writeFile(shell.sessionFile, '{}')
    assert.match((await shell.run(['get', NAME])).stderr, /it has no session \[session-file-unusable\]/)
  })

  test('a certificate that nobody knows is refused, unless --ca has it or --insecure is said', async (t) => {
    const scope = scopeOf(t)
    const files = makeCertificate(await scope.directory(), 'localhost')
    const keys = `tls = { certificate = "${files.certificate}", key = "${files.key}" }`
    const secure = await startDaemon(scope, { listen: [{ address: '127.0.0.1:0', keys }] })
    await serveHttp(scope, secure.place.socket(NAME), (_request, response) => response.end('secure'))
    const url = `https://localhost:${new URL(secure.url).port}`
    const shell = await Shell.open(scope)
    assert.match((await shell.login(url.replace('https:', 'http:'))).stderr, /answers 400: This port speaks HTTPS/)
    const refused = await shell.login(url)
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /\[certificate-unknown\]\ntry: give --ca FILE/)
    for (const how of [['--ca', files.certificate], ['--insecure']]) {
      const login = await shell.login(url, ...how)
      assert.deepEqual([login.code, login.stderr.split('\n').length], [0, 2], login.stderr)
      // What login was told holds for what comes after it.
      const got = await shell.run(['get', NAME])
      assert.deepEqual([got.code, got.stdout, got.stderr], [0, 'secure', ''])
      assert.match((await shell.run(['status', '--url', url])).stdout, /^version/)
    }
  })

  test('the session before is shown to nobody whom it would not have believed', async (t) => {
    const scope = scopeOf(t)
    const files = makeCertificate(await scope.directory(), 'localhost')
    const shown: string[] = []
    const impostor = createServer(
      { cert: readFileSync(files.certificate), key: readFileSync(files.key) },
      (request) => {
        shown.push(request.url ?? '')
        request.socket.destroy()
      },
    )
    await once(impostor.listen(0, 'localhost'), 'listening')
    scope.defer(() => void impostor.close())
    const shell = await Shell.open(scope)
    await shell.login(daemon.url)
    const kept = JSON.parse(await readFile(shell.sessionFile, 'utf8')) as object
    const url = `https://localhost:${(impostor.address() as AddressInfo).port}`
    for (const how of [['--ca', files.certificate], ['--insecure']]) {
      await writeFile(shell.sessionFile, JSON.stringify({ ...kept, url }))
      const login = await shell.login(daemon.url, ...how)
      assert.equal(login.code, 0, login.stderr)
      assert.match(login.stderr, /the earlier session at https:\/\/localhost:\d+ was not ended/)
    }
    assert.deepEqual(shown, [])
  })

  test('at a terminal it asks, and shows how far it is', async (t) => {
    const scope = scopeOf(t)
    const shell = await Shell.open(scope)
    const script = `
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
answers = [(b'User: ', b'${USER.name}\\n'), (b'Password of ${USER.name}: ', b'${USER.password}\\n')]
seen = b''
while True:
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    seen += data
    if answers and answers[0][0] in seen:
        os.write(fd, answers.pop(0)[1])
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`
    const typed = (argv: readonly string[]): Promise<Ran> =>
      run(scope, 'python3', ['-c', script, process.execPath, ...XENGATE, ...argv], {
        cwd: shell.directory,
        env: { ...process.env, XDG_CONFIG_HOME: shell.directory },
      })
    const login = await typed(['login', daemon.url])
    assert.equal(login.code, 0, login.stdout)
    assert.match(login.stdout, /signed in at http:.* as alice/)
    assert.ok(!login.stdout.includes(USER.password))

    await serveHttp(scope, daemon.place.socket('com.example.slow'), (_request, response) => {
      response.writeHead(200, { 'Content-Length': 4_000_000 })
      const timer = setInterval(() => response.write(Buffer.alloc(1_000_000)), 300)
      scope.defer(() => clearInterval(timer))
    })
    const shown = await typed(['get', 'com.example.slow', '-o', 'file'])
    assert.equal(shown.code, 0, shown.stdout)
    assert.match(shown.stdout, /\[#+\.+\] \d+ % {2}received \d MiB of 4 MiB {2}\d+ [KM]iB\/s {2}\d s left/)
    assert.equal(statSync(join(shell.directory, 'file')).size, 4_000_000)
  })
})
