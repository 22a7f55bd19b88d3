import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { openDatabase } from '../sessions/embedded/database.ts'
import { UserStore } from '../sessions/embedded/users.ts'
import { type Input, type Outcome, runCommand } from './testing/test-io.ts'

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

describe('xengate', { timeout: 60_000 }, () => {
  test('--version prints the version on standard output', async () => {
    const { code, stdout } = await xengate('--version')
    assert.equal(code, 0)
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
  })

  test('a state directory or a socket that cannot be made is an ordinary failure, with what to try', async () => {
    await writeFile(join(cwd, 'file'), '')
    await writeFile(join(cwd, 'below.toml'), 'state-dir = "file/state"\n[[listen]]\naddress = "127.0.0.1:0"\n')
    await writeFile(join(cwd, 'socket.toml'), 'state-dir = "state"\n[[listen]]\naddress = "unix:none/gate.sock"\n')
    for (const [command, expected] of [
      ['dev --port 0 --state file', /cannot use .*file: .*ENOTDIR.* \[state-unusable\]\ntry: /],
      ['serve --config below.toml', /cannot use the state directory .*ENOTDIR.* \[state-unusable\]\ntry: /],
      ['serve --config socket.toml', /there is no directory .*none \[listen-failed\]\ntry: /],
    ] as const) {
      const { code, stderr } = await xengate(command)
      assert.equal(code, 1)
      assert.match(stderr, expected)
    }
  })

  test('every help has examples', async () => {
    for (const command of [
      '',
      'dev',
      'serve',
      'check-config',
      'config-schema',
      'user',
      'user add',
      'user passwd',
      'user remove',
      'user list',
    ]) {
      const { code, stdout, stderr } = await xengate(`${command} --help`)
      assert.equal(code, 0)
      assert.match(stdout, /\nExamples:\n {2}xengate /, command)
      assert.equal(stderr, '')
    }
  })

  test('a usage error exits with 2 and shows help on standard error', async () => {
    for (const command of [
      '',
      'nonsense',
      'serve',
      'dev --port 65536',
      'dev extra',
      'user add',
      'user add a --role king',
      'user list --config a --state b',
    ]) {
      const { code, stdout, stderr } = await xengate(command)
      assert.equal(code, 2, command)
      assert.equal(stdout, '')
      assert.match(stderr, /Usage: xengate/)
    }
  })
})

describe('check-config', { timeout: 60_000 }, () => {
  test('exits with 0 for a valid file', async () => {
    await writeFile(join(cwd, 'x.toml'), '[limits]\nhead-bytes = 4096\n')
    const { code, stdout, stderr } = await xengate('check-config --config x.toml')
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: '', stderr: 'x.toml: valid\n' })
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
      { key: 'workers', line: 2, message: '`workers` must be at least 1; it is 0' },
    ])
  })

  test('a file that is not there is a problem', async () => {
    const { code, stderr } = await xengate('check-config --config none.toml')
    assert.equal(code, 1)
    assert.match(stderr, /none\.toml: .*no such file/)
  })
})

describe('config-schema', { timeout: 60_000 }, () => {
  test('prints JSON Schema, and with --sample a file that check-config takes', async () => {
    const schema = await xengate('config-schema')
    assert.equal(JSON.parse(schema.stdout).type, 'object')
    const sample = await xengate('config-schema --sample')
    await writeFile(join(cwd, 'x.toml'), sample.stdout)
    assert.equal((await xengate('check-config --config x.toml')).code, 0)
    assert.match((await xengate('config-schema --reference')).stdout, /^# Configuration\n/)
  })
})

describe('serve', { timeout: 60_000 }, () => {
  test('does not start with a configuration that is not valid', async () => {
    await writeFile(join(cwd, 'x.toml'), 'x = 1')
    const { code, stdout, stderr } = await xengate('serve --config x.toml')
    assert.equal(code, 1)
    assert.equal(stdout, '')
    assert.match(stderr, /x\.toml:1: unknown key `x`\n[^]*\[config-invalid\]\ntry: xengate config-schema/)
  })
})

describe('dev', { timeout: 60_000 }, () => {
  test('a state directory that is too long for its sockets is refused before anything is made', async () => {
    const { code, stderr } = await xengate(`dev --state ${'d'.repeat(120)}`)
    assert.equal(code, 1)
    assert.match(stderr, /may have 107 bytes.* \[state-unusable\]\ntry: /)
    await assert.rejects(stat(join(cwd, 'd'.repeat(120))), { code: 'ENOENT' })
  })
})

describe('user', { timeout: 60_000 }, () => {
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
