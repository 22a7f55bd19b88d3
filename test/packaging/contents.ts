// What is in the packages, and how they are made.

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { layOut, type Profile } from '../../packaging/layout.ts'
import { scopeOf } from '../harness/scope.ts'
import { makePackagesIn, packagesOfThis } from './packages.ts'

const DEADLINE = { timeout: 90_000 }

/** Of `systemd-analyze security`: 10 is a service that nothing is kept from. */
const EXPOSURE_MAX = 2.5

/** The key of systemd 219, for which later ones have another name. */
const OLD_KEY = /^.*: Unit uses MemoryLimit=; please use MemoryMax= instead.*\n/gm

export function testContents(): void {
  describe('packages', testPackages)
}

function testPackages(): void {
  test('two builds of one commit are the same', DEADLINE, async (t) => {
    const scope = scopeOf(t)
    const { directory } = await packagesOfThis()
    const again = await scope.directory()
    await makePackagesIn(again)
    const { status, stdout } = spawnSync('diff', ['-r', '--no-dereference', directory, again], { encoding: 'utf8' })
    assert.equal(status, 0, stdout)
  })

  test('the RPM asks for nothing that rpm 4.11 does not know, and for no library', DEADLINE, async () => {
    const { rpm } = await packagesOfThis()
    const lines = query('--requires', rpm)
    assert.deepEqual([...new Set(lines)].toSorted(), [
      '/bin/sh',
      'rpmlib(CompressedFileNames) <= 3.0.4-1',
      'rpmlib(FileDigests) <= 4.6.0-1',
      'rpmlib(PayloadFilesHavePrefix) <= 4.0-1',
      'shadow-utils',
      'systemd',
    ])
    for (const weak of ['--recommends', '--suggests', '--supplements', '--enhances']) {
      assert.deepEqual(query(weak, rpm), [])
    }
    assert.deepEqual(
      query('--provides', rpm).map((line) => line.split(' ')[0]),
      ['xengate', 'xengate(x86-64)'],
    )
  })

  test('nothing that is packed can be written by another than root, or runs as its owner', DEADLINE, async () => {
    const { rpm } = await packagesOfThis()
    const format = '[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\\n]'
    for (const line of query('--qf', format, rpm)) {
      assert.match(line, /^(l|[d-][rwx-]{2}[x-][r-]-[x-][r-]-[x-] )/, line)
      assert.match(line, / root (root \/|xengate \/etc\/xengate)/)
    }
  })

  test(
    "the RPM has the dashboard where xapi's web server looks, and the package of Debian has it not",
    DEADLINE,
    async () => {
      const { rpm, deb, tree } = await packagesOfThis()
      const links = query('--qf', '[%{FILENAMES} %{FILELINKTOS}\\n]', rpm)
      assert.ok(links.includes('/opt/xensource/www/xengate /opt/xengate/app/dist/dashboard'))
      assert.ok(existsSync(join(tree, 'app/dist/dashboard/index.html')))
      assert.ok(!execFileSync('dpkg-deb', ['--contents', deb], { encoding: 'utf8' }).includes('xensource'))
    },
  )

  test('the bill of materials names every library, and each has its licence', DEADLINE, async () => {
    const { tree } = await packagesOfThis()
    const bill = JSON.parse(readFileSync(join(tree, 'bom.json'), 'utf8')) as {
      components: { name: string; licenses: { expression: string }[] }[]
    }
    const names = new Set(bill.components.map(({ name }) => name))
    for (const name of ['node', 'libc6', 'libstdc++6', 'libgcc-s1', 'libatomic1', 'koffi', 'zod', 'commander']) {
      assert.ok(names.has(name), name)
    }
    const texts = globSync('LICENSES/*', { cwd: tree }).map((file) => readFileSync(join(tree, file), 'utf8'))
    for (const { name, licenses } of bill.components) {
      assert.match(licenses[0]?.expression ?? '', /^[A-Za-z]/)
      const isShown =
        globSync(`LICENSES/${name}.txt`, { cwd: tree }).length === 1 ||
        texts.some((text) => text.includes(`──── ${name} `))
      assert.ok(isShown, name)
    }
  })

  for (const profile of ['dom0', 'debian'] as const) {
    test(`systemd takes the unit of ${profile}, and keeps it from what it does not need`, DEADLINE, async () => {
      const { tree } = await packagesOfThis()
      const root = unitRoot(tree, profile)
      try {
        const { status, stderr } = analyze('verify', '--man=no', `--root=${root}`, 'xengate.service')
        assert.equal(stderr.replaceAll(OLD_KEY, ''), '')
        assert.equal(status, 0)
        const security = analyze('security', '--no-pager', '--offline=true', `--root=${root}`, 'xengate.service')
        const exposure = Number(/exposure level for xengate.service: ([0-9.]+)/.exec(security.stdout)?.[1])
        assert.ok(exposure < EXPOSURE_MAX, security.stdout + security.stderr)
      } finally {
        rmSync(root, { recursive: true, force: true })
      }
    })
  }

  test('manual pages are read without a complaint, and name every command and option', DEADLINE, async () => {
    const { tree } = await packagesOfThis()
    const pages = { 'man1/xengate.1': 'xengate session end ID', 'man5/xengate.toml.5': 'stale-grace' }
    for (const [page, text] of Object.entries(pages)) {
      const { stdout, stderr } = spawnSync('man', ['--warnings', '--local-file', join(tree, 'share/man', page)], {
        encoding: 'utf8',
        env: { ...process.env, LC_ALL: 'C.UTF-8', MANWIDTH: '120' },
      })
      assert.equal(stderr, '')
      assert.ok(stdout.includes(text), page)
    }
  })

  test('bash completes commands and options', DEADLINE, async () => {
    const { tree } = await packagesOfThis()
    const complete = (...words: string[]): string => {
      const script = `. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _xengate; echo "\${COMPREPLY[*]}"`
      return execFileSync('bash', ['-c', script, join(tree, 'share/completions/xengate'), ...words], {
        encoding: 'utf8',
      })
    }
    assert.deepEqual(complete('xengate', 'ser').trim().split(' ').toSorted(), [
      'serve',
      'serve-plugins',
      'service',
      'services',
    ])
    assert.equal(complete('xengate', 'chec'), 'check-config\n')
    assert.equal(complete('xengate', 'user', 'pass'), 'passwd\n')
    assert.equal(complete('xengate', 'user', 'add', '--ro'), '--role\n')
    for (const name of ['_xengate', 'xengate.fish']) assert.ok(existsSync(join(tree, 'share/completions', name)), name)
  })

  test('what is not right on the command line is said', DEADLINE, () => {
    const unknown = packaging({}, '--format', 'msi')
    assert.equal(unknown.status, 2)
    assert.match(unknown.stderr, /there is no format "msi"/)
    const missing = packaging({}, '--sign', 'nobody@example.com')
    assert.equal(missing.status, 1)
    assert.match(missing.stderr, /gpg has no secret key "nobody@example.com"/)
    const tools = packaging({ PATH: '/nowhere' }, '--format', 'tree')
    assert.equal(tools.status, 1)
    assert.match(tools.stderr, /patchelf.*\n\n {2}sudo apt-get install -y --no-install-recommends .*patchelf/)
  })
}

function packaging(
  env: NodeJS.ProcessEnv,
  ...argv: string[]
): { status: number | null; stdout: string; stderr: string } {
  const script = join(import.meta.dirname, '../../packaging/main.ts')
  return spawnSync(process.execPath, ['-C', '@xengate/source', script, ...argv], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
}

function query(...argv: string[]): string[] {
  // rpm makes a database, and on Debian in the home directory.
  const database = mkdtempSync(join(tmpdir(), 'xg-rpm-'))
  try {
    const output = execFileSync('rpm', ['--dbpath', database, '-qp', ...argv], { encoding: 'utf8' }).trim()
    return output === '' ? [] : output.split('\n')
  } finally {
    rmSync(database, { recursive: true, force: true })
  }
}

function analyze(...argv: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('systemd-analyze', argv, {
    encoding: 'utf8',
    env: { ...process.env, SYSTEMD_COLORS: '0', LC_ALL: 'C.UTF-8' },
  })
}

/** What is packed, with as much of Debian as the unit refers to. */
function unitRoot(tree: string, profile: Profile): string {
  const root = mkdtempSync(join(tmpdir(), 'xg-unit-'))
  layOut(root, tree, profile)
  const units = join(root, 'lib/systemd/system')
  mkdirSync(units, { recursive: true })
  for (const target of globSync('/lib/systemd/system/*.target'))
    cpSync(target, join(units, target.split('/').at(-1) ?? ''))
  mkdirSync(join(root, 'bin'))
  cpSync('/bin/kill', join(root, 'bin/kill'))
  return root
}
