import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openDatabase } from '../sessions/embedded/database.ts'
import { UserStore } from '../sessions/embedded/users.ts'
import { type Input, type Outcome, runCommand } from './testing/test-io.ts'

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url))

let root: string
let cwd: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'xengate-cli-'))
})
beforeEach(async () => {
  cwd = await mkdtemp(join(root, 'cwd-'))
})
after(() => rm(root, { recursive: true }))

function xengate(command: string, input?: Input): Promise<Outcome> {
  return runCommand(
    cwd,
    command.split(' ').filter((word) => word !== ''),
    input,
  )
}

async function canSignIn(name: string, password: string, stateDir: string = join(cwd, '.xengate')): Promise<boolean> {
  const db = openDatabase(join(stateDir, 'xengate.db'))
  try {
    return (await new UserStore(db).verify(name, password)) !== undefined
  } finally {
    db.close()
  }
}

/** Writes x.toml: one listener, with these keys, a directory for services, and a user. */
async function configure(keys: string, { address = '127.0.0.1:0', more = '' } = {}): Promise<void> {
  await mkdir(join(cwd, 'plugin'), { recursive: true })
  const text = `state-dir = "state"\n[services]\ndirectories = ["plugin"]\n[[listen]]\naddress = "${address}"\n${keys}${more}`
  await writeFile(join(cwd, 'x.toml'), `${text}[limits]\nconnections = 100\n`)
  await xengate('user add root --state state --password-stdin', { text: 'secret' })
}

/** Makes NAME.pem and NAME.key. */
async function makeCertificate(name: string, ...how: readonly string[]): Promise<void> {
  const files = ['-keyout', join(cwd, `${name}.key`), '-out', join(cwd, `${name}.pem`)]
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=gate']
  await promisify(execFile)('openssl', ['req', '-x509', ...key, ...files, ...how])
}

describe('xengate', { timeout: 300_000 }, () => {
  test('--version prints the version, and that of Node.js, on standard output', async () => {
    const { code, stdout } = await xengate('--version')
    assert.equal(code, 0)
    assert.match(stdout, /^\d+\.\d+\.\d+ \(Node\.js v\d+\.\d+\.\d+\)\n$/)
  })

  test('a state directory or a socket that cannot be made is an ordinary failure, with what to try', async () => {
    await writeFile(join(cwd, 'file'), '')
    await writeFile(join(cwd, 'below.toml'), 'state-dir = "file/state"\n[[listen]]\naddress = "127.0.0.1:0"\n')
    await writeFile(join(cwd, 'socket.toml'), 'state-dir = "state"\n[[listen]]\naddress = "unix:none/gate.sock"\n')
    for (const [command, expected] of [
      ['dev --port 0 --state file', /cannot use .*file: .*EEXIST.* \[state-unusable\]\ntry: /],
      [
        'serve --config below.toml',
        /below\.toml:1: .*must be a directory; .*file is a file\n.* \[config-invalid\]\ntry: /,
      ],
      [
        'serve --config socket.toml',
        /socket\.toml:3: .*directory that is not there: .*none\n.* \[config-invalid\]\ntry: /,
      ],
    ] as const) {
      const { code, stderr } = await xengate(command)
      assert.equal(code, 1)
      assert.match(stderr, expected)
    }
  })

  test('a place where no directory can be made is an ordinary failure', async () => {
    for (const command of ['dev --port 0 --state /proc/x', 'user add a --password-stdin --state /proc/x']) {
      const { code, stderr } = await xengate(command, { text: 'secret' })
      assert.equal(code, 1)
      assert.match(stderr, /\/proc\/x.*ENOENT.*\[(?:state-unusable|database-unreadable)\]\ntry: /)
    }
  })

  test('a state directory that may not be read is not taken for an empty one', async (t) => {
    if (process.getuid?.() !== 0) return t.skip('needs root, to become another user')
    await xengate('user add alice --state s --password-stdin', { text: 'secret' })
    await chmod(join(cwd, 's'), 0o700)
    await chmod(root, 0o755)
    await chmod(cwd, 0o755)
    const argv = ['-C', '@xengate/source', MAIN, 'user', 'list', '--state', join(cwd, 's')]
    const ran = promisify(execFile)(process.execPath, argv, { uid: 65_534, gid: 65_534 })
    await assert.rejects(ran, (error: Error & { stderr?: string }) => {
      assert.match(String(error.stderr), /EACCES.*\[database-unreadable\]/)
      return true
    })
  })

  test('the help has each command once, under a heading that says what it is for', async () => {
    const { stdout } = await xengate('--help')
    const parts = stdout.split(/^(?=\S.*:\n)/m).slice(1)
    const commandsIn = (heading: string): readonly string[] => {
      const part = parts.find((one) => one.startsWith(`${heading}:\n`)) ?? ''
      return [...part.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name = '']) => name)
    }
    assert.deepEqual(
      parts.map((part) => part.slice(0, part.indexOf(':'))),
      [
        'Usage',
        'Options',
        'Run a gateway',
        'See how it does',
        'Act on it',
        'Configuration and users',
        'Call services',
        'On a XenServer or XCP-ng host',
        'More',
        'Examples',
      ].slice(1),
    )
    assert.deepEqual(commandsIn('See how it does'), [
      'status',
      'services',
      'connections',
      'refusals',
      'events',
      'explain',
      'sessions',
      'blocked',
    ])
    assert.deepEqual(commandsIn('Act on it'), [
      'connection',
      'service',
      'session',
      'unblock',
      'reload',
      'upgrade',
      'drain',
    ])
  })

  test('every help has examples', async () => {
    for (const command of [
      '',
      'dev',
      'serve',
      'check-config',
      'show-config',
      'config-schema',
      'user',
      'user add',
      'user passwd',
      'user remove',
      'user list',
      'user set-role',
      'sessions',
      'session',
      'session end',
      'blocked',
      'unblock',
      'new',
      'new service',
      'help',
    ]) {
      const { code, stdout, stderr } = await xengate(`${command} --help`)
      assert.equal(code, 0)
      assert.match(stdout, /\nExamples:\n {2}xengate /, command)
      assert.equal(stderr, '')
    }
  })

  test('help takes the words of a command, and a wrong word is answered with no other command', async () => {
    assert.match((await xengate('help user add')).stdout, /^Usage: xengate user add /)
    assert.equal((await xengate('help user nonsense')).code, 2)
    const { code, stderr } = await xengate('user rename a b')
    assert.equal(code, 2)
    assert.doesNotMatch(stderr, /Did you mean/)
  })

  test('a usage error exits with 2 and shows help on standard error', async () => {
    for (const command of [
      '',
      'nonsense',
      'dev --port 65536',
      'dev extra',
      'user add',
      'user add a --role king',
      'user list --config a --state b',
      'user set-role a king',
      'sessions --json --minimal',
      'session end',
      'unblock',
      'unblock --all --user a',
    ]) {
      const { code, stdout, stderr } = await xengate(command)
      assert.equal(code, 2, command)
      assert.equal(stdout, '')
      assert.match(stderr, /Usage: xengate/)
    }
  })
})

/** What it says of a file that asks for nothing. */
const TRANSPORT =
  'transport: net (auto: io_uring is to be measured on more machines first; transport = "ring" asks for it)\n'

describe('check-config', { timeout: 300_000 }, () => {
  test('says no to a state directory or an address that the daemon cannot have', async () => {
    await writeFile(join(cwd, 'file'), 'not a database at all, and long enough to be looked at as one\n'.repeat(100))
    await mkdir(join(cwd, 'foreign'))
    await copyFile(join(cwd, 'file'), join(cwd, 'foreign/xengate.db'))
    for (const [text, problem] of [
      ['state-dir = "file/state"', /`state-dir` must be a directory; .*file is a file/],
      ['state-dir = "foreign"', /`state-dir`: read database .*: file is not a database/],
      [
        '[[listen]]\naddress = "192.0.2.55:9551"',
        /`listen\[0\]\.address` is an address that this machine does not have/,
      ],
    ] as const) {
      await writeFile(join(cwd, 'y.toml'), `${text}\n`)
      const { code, stderr } = await xengate('check-config --config y.toml')
      assert.equal(code, 1)
      assert.match(stderr, problem)
    }
  })

  test('exits with 0 for a valid file', async () => {
    await configure('')
    const { code, stdout, stderr } = await xengate('check-config --config x.toml')
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: `${TRANSPORT}x.toml: valid\n` })
  })

  test('exits with 1 and says file, line and key', async () => {
    await writeFile(join(cwd, 'x.toml'), '[limits]\nhead-byte = 4096\n')
    const { code, stderr } = await xengate('check-config --config x.toml')
    assert.equal(code, 1)
    assert.equal(stderr, 'x.toml:2: unknown key `head-byte` in [limits]; did you mean `head-bytes`?\n')
  })

  test('--json prints the problems as data', async () => {
    await writeFile(join(cwd, 'x.toml'), '\nworkers = 0\n')
    const { code, stdout } = await xengate('check-config --config x.toml --json')
    assert.equal(code, 1)
    assert.deepEqual(JSON.parse(stdout), [
      { key: 'workers', line: 2, message: '`workers` must be at least 1; it is 0', severity: 'error' },
    ])
  })

  test('a file that is not there is a problem', async () => {
    const { code, stderr } = await xengate('check-config --config none.toml')
    assert.equal(code, 1)
    assert.match(stderr, /none\.toml: .*no such file/)
  })

  test('says no to files that serve could not use, each at its key', async () => {
    await writeFile(join(cwd, 'empty'), '')
    await configure('owner = "nobody-of-this-name"\ngroup = "nogroup-of-this-name"\n', {
      address: 'unix:gate.sock',
      more: `[[listen]]
address = "127.0.0.1:0"
tls = { certificate = "nope.pem", key = "key.pem" }
[[listen]]
address = "unix:none/gate.sock"
[[listen]]
address = "no-such-host.invalid:80"
[sessions]
authority = "valkey"
[valkey]
url = "rediss://127.0.0.1:6379"
ca = "nope-ca.pem"
password-file = "empty"
`,
    })
    const { code, stderr } = await xengate('check-config --config x.toml')
    assert.equal(code, 1)
    for (const said of [
      /x\.toml:\d+: `listen\[0\]\.owner`: there is no nobody-of-this-name in \/etc\/passwd/,
      /x\.toml:\d+: `listen\[0\]\.group`: there is no nogroup-of-this-name/,
      /x\.toml:\d+: `listen\[1\]\.tls`: cannot read the certificate .*nope\.pem: ENOENT/,
      /x\.toml:\d+: `listen\[2\]\.address` needs a directory that is not there/,
      /x\.toml:\d+: `listen\[3\]\.address` names a host that is not known/,
      /x\.toml:\d+: `valkey\.ca`: cannot read .*nope-ca\.pem: ENOENT/,
      /x\.toml:\d+: `valkey\.password-file`: .*empty is empty/,
    ])
      assert.match(stderr, said)
    assert.doesNotMatch(stderr, /valid\n$/)
  })

  test('says no to a key that is not the certificate’s, and warns of one that has expired', async () => {
    await makeCertificate('a', '-days', '3')
    await makeCertificate('b', '-days', '300')
    await configure('tls = { certificate = "a.pem", key = "b.key" }\n')
    assert.match((await xengate('check-config --config x.toml')).stderr, /the key is not that of the certificate/)
    await configure('tls = { certificate = "a.pem", key = "a.key" }\n')
    const soon = await xengate('check-config --config x.toml')
    assert.equal(soon.code, 0)
    assert.match(soon.stderr, /^x\.toml:\d+: warning: `listen\[0\]\.tls` has a certificate that expires on \d{4}-/m)
    const again = ['-in', join(cwd, 'a.pem'), '-signkey', join(cwd, 'a.key'), '-out', join(cwd, 'a.pem')]
    await promisify(execFile)('openssl', ['x509', ...again, '-days', '-1'])
    const expired = await xengate('check-config --config x.toml')
    assert.equal(expired.code, 0)
    assert.match(expired.stderr, /warning: .* expired on \d{4}-\d\d-\d\d/)
  })

  test('warns of what may not be meant, and exits with 0', async () => {
    await writeFile(
      join(cwd, 'x.toml'),
      'state-dir = "state"\n[[listen]]\naddress = "0.0.0.0:8080"\n[services]\ndirectories = ["no-plugin"]\n[limits]\nconnections = 1000000\n',
    )
    const { code, stderr } = await xengate('check-config --config x.toml')
    assert.equal(code, 0)
    assert.match(stderr, /x\.toml:1: warning: `state-dir` has no users yet/)
    assert.match(stderr, /x\.toml:3: warning: `listen\[0\]\.address` is not loopback and has no tls/)
    assert.match(stderr, /x\.toml:5: warning: `services\.directories\[0\]` is not there: .*no-plugin/)
    assert.match(stderr, /x\.toml:7: warning: `limits\.connections` is 1000000, and \d+ open files/)
    assert.match(stderr, /x\.toml: valid\n$/)
    const { stdout } = await xengate('check-config --config x.toml --json')
    assert.ok(JSON.parse(stdout).every(({ severity }: { severity: string }) => severity === 'warning'))
  })

  test('takes the configuration of the host when none is given', async () => {
    const { code, stderr } = await xengate('check-config')
    assert.equal(code, 1)
    assert.match(stderr, /no --config was given, and there is no .*etc\.toml \[config-missing\]\ntry: /)
    await writeFile(join(cwd, 'etc.toml'), 'workers = 0\n')
    assert.match((await xengate('check-config')).stderr, /etc\.toml:1: `workers` must be at least 1/)
    assert.match((await xengate('serve')).stderr, /etc\.toml:1: `workers` must be at least 1.*\n.*\[config-invalid\]/)
    await writeFile(join(cwd, 'etc.toml'), 'state-dir = "state"\n')
    const added = await xengate('user add alice --password-stdin', { text: 'secret\n' })
    assert.equal(added.code, 0, added.stderr)
    assert.ok(await canSignIn('alice', 'secret', join(cwd, 'state')))
  })
})

describe('config-schema', { timeout: 300_000 }, () => {
  test('prints JSON Schema, and with --sample a file that check-config takes', async () => {
    const schema = await xengate('config-schema')
    assert.equal(JSON.parse(schema.stdout).type, 'object')
    const sample = await xengate('config-schema --sample')
    // Its state directory is root's.
    await writeFile(join(cwd, 'x.toml'), sample.stdout.replace('/var/lib/xengate', join(cwd, 'state')))
    assert.equal((await xengate('check-config --config x.toml')).code, 0)
    assert.match((await xengate('config-schema --reference')).stdout, /^# Configuration\n/)
  })
})

describe('serve', { timeout: 300_000 }, () => {
  test('does not start with a configuration that is not valid', async () => {
    await writeFile(join(cwd, 'x.toml'), 'x = 1')
    const { code, stdout, stderr } = await xengate('serve --config x.toml')
    assert.equal(code, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /x\.toml:1: unknown key `x`\n[^]*\[config-invalid\]\ntry: xengate config-schema/)
  })
})

describe('dev', { timeout: 300_000 }, () => {
  test('a state directory that is too long for its sockets is refused before anything is made', async () => {
    const { code, stderr } = await xengate(`dev --state ${'d'.repeat(120)}`)
    assert.equal(code, 1)
    assert.match(stderr, /may have 107 bytes.* \[state-unusable\]\ntry: /)
    await assert.rejects(stat(join(cwd, 'd'.repeat(120))), { code: 'ENOENT' })
  })
})

describe('user', { timeout: 300_000 }, () => {
  test('without a state directory says how to give one', async () => {
    const { code, stderr } = await xengate('user list')
    assert.equal(code, 1)
    assert.match(stderr, /\[state-missing\]\ntry: give --config FILE or --state DIR/)
  })

  test('a user is added, listed, changed and removed', async () => {
    await mkdir(join(cwd, '.xengate'))
    assert.equal((await xengate('user add bob --role vm-admin --password-stdin', { text: 'one\n' })).code, 0)
    assert.equal((await xengate('user add al --password-stdin', { text: 'x' })).code, 0)
    assert.equal((await xengate('user list')).stdout, 'al   read-only\nbob  vm-admin\n')
    assert.ok(await canSignIn('bob', 'one'))

    assert.equal((await xengate('user passwd bob --role pool-admin --password-stdin', { text: ' two \r\n' })).code, 0)
    assert.ok(await canSignIn('bob', ' two '))

    const { stdout } = await xengate('user list --json')
    const [al, bob, ...others]: Record<string, string>[] = JSON.parse(stdout)
    assert.deepEqual([al?.['name'], bob?.['name'], bob?.['role'], others], ['al', 'bob', 'pool-admin', []])
    assert.match(String(bob?.['uuid']), /^[0-9a-f-]{36}$/)
    assert.equal(new Date(String(bob?.['created'])).toISOString(), bob?.['created'])

    assert.equal((await xengate('user remove bob')).code, 0)
    assert.equal((await xengate('user list')).stdout, 'al  read-only\n')
  })

  test('--config names the state directory of the daemon', async () => {
    await writeFile(join(cwd, 'x.toml'), 'state-dir = "state"')
    assert.equal((await xengate('user add bob --config x.toml --password-stdin', { text: 'p' })).code, 0)
    assert.ok(await canSignIn('bob', 'p', join(cwd, 'state')))
    assert.equal((await stat(join(cwd, 'state/xengate.db'))).mode & 0o777, 0o600)
  })

  test('the removal of the last administrator is warned of, and asked for at a terminal', async () => {
    for (const name of ['root', 'eve'])
      await xengate(`user add ${name} --role pool-admin --state s --password-stdin`, { text: 'secret' })
    assert.doesNotMatch((await xengate('user remove eve --state s')).stderr, /last/)
    const kept = await xengate('user remove root --state s', { typed: ['n\r'] })
    assert.equal(kept.code, 1)
    assert.match(kept.stderr, /root is the last user with the role pool-admin\. Go on\? .*\n.*\[not-confirmed\]/)
    assert.match((await xengate('user list --state s')).stdout, /^root/)
    const removed = await xengate('user remove root --state s')
    assert.equal(removed.code, 0)
    assert.match(removed.stderr, /warning: root is the last user with the role pool-admin/)
    const { stdout, stderr } = await xengate('user list --state s')
    assert.deepEqual([stdout, stderr], ['', 'there are no users: add one with xengate user add\n'])
  })

  test('only add makes a database', async () => {
    for (const command of ['passwd bob --password-stdin', 'remove bob', 'list']) {
      const { code, stderr } = await xengate(`user ${command} --state none`, { text: 'p' })
      assert.equal(code, 1)
      assert.match(stderr, /\[state-empty\]/)
    }
    await assert.rejects(stat(join(cwd, 'none')), { code: 'ENOENT' })
  })

  test('what the store refuses is said with a code and what to try', async () => {
    await xengate('user add bob --state s --password-stdin', { text: 'p' })
    const refused: readonly [command: string, text: string, message: RegExp][] = [
      ['add bob --state s --password-stdin', 'p', /\[user-exists\]\ntry: /],
      ['remove eve --state s', '', /\[user-unknown\]\ntry: /],
      ['passwd eve --state s --password-stdin', 'p', /\[user-unknown\]\ntry: /],
      ['add eve --state s --password-stdin', '', /\[password-invalid\]/],
      ['add eve --state s --password-stdin', 'x'.repeat(5000), /\[password-invalid\]/],
      [`add ${'e'.repeat(256)} --state s --password-stdin`, 'p', /\[user-name-invalid\]/],
    ]
    for (const [command, text, message] of refused) {
      const { code, stderr } = await xengate(`user ${command}`, { text })
      assert.equal(code, 1, command)
      assert.match(stderr, message)
    }
  })

  test('a database that is something else is refused', async () => {
    await mkdir(join(cwd, 's'))
    await writeFile(join(cwd, 's/xengate.db'), 'this is no database, but a text that is long enough')
    const { code, stderr } = await xengate('user list --state s')
    assert.equal(code, 1)
    assert.match(stderr, /\[database-foreign\]\ntry: /)
  })

  test('at a terminal the password is asked twice and not shown', async () => {
    const { code, stderr } = await xengate('user add bob --state s', { typed: ['secrt\u007F\u007Fret\r', 'secret\r'] })
    assert.equal(code, 0)
    assert.match(stderr, /^Password: \nAgain: \nadded bob/)
    assert.ok(await canSignIn('bob', 'secret', join(cwd, 's')))
  })

  test('two passwords that differ change nothing', async () => {
    const { code, stderr } = await xengate('user add bob --state s', { typed: ['one\r', 'two\r'] })
    assert.equal(code, 1)
    assert.match(stderr, /\[password-differs\]/)
    await assert.rejects(stat(join(cwd, 's')), { code: 'ENOENT' })
  })

  test('Ctrl-C at the question ends the command', async () => {
    const { code, stderr } = await xengate('user add bob --state s', { typed: ['on\u0003'] })
    assert.equal(code, 2)
    assert.match(stderr, /no password was given/)
  })

  test('without a terminal the password is not asked', async () => {
    const { code, stderr } = await xengate('user add bob --state s', { text: 'secret' })
    assert.equal(code, 2)
    assert.match(stderr, /not a terminal \[password-unreadable\]\ntry: give --password-stdin/)
  })
})
