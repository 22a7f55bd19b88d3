// The peers in the newest version that Debian has, beside what is installed: its unstable packages, with the C library and all
// else that they need, unpacked into a directory. Nothing of the system is changed; without a mirror that has them, what is installed is taken.

import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const SUITE = 'sid'
const PACKAGES = ['haproxy', 'nginx-light', 'caddy']
const PROGRAMS = ['usr/sbin/haproxy', 'usr/sbin/nginx', 'usr/bin/caddy']
const KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'
/** How long a step of apt may take. */
const STEP_MS = 120_000

const CACHE = join(import.meta.dirname, '../node_modules/.cache/bench')
const DIRECTORY = join(CACHE, SUITE)

/** Where the peers' commands are; to be looked for there first. Empty until `unpackNewestPeers` has found them. */
export const NEWEST_PEERS: string = join(DIRECTORY, 'bin')

/** Unpacks the peers, unless they have been. Remove node_modules/.cache/bench to have them anew. @returns why they cannot be had; null when they are there */
export function unpackNewestPeers(): string | null {
  if (existsSync(NEWEST_PEERS)) return null
  const own = `${DIRECTORY}.${process.pid}`
  try {
    const root = join(own, 'root')
    for (const name of ['root', 'bin', 'lists/partial', 'cache/archives/partial'])
      mkdirSync(join(own, name), { recursive: true })
    download(own, mirror())
    for (const path of globSync(join(own, 'cache/archives/*.deb'))) run('dpkg-deb', ['-x', path, root])
    for (const name of ['lists', 'cache']) rmSync(join(own, name), { recursive: true })
    for (const path of PROGRAMS) writeStarter(own, path)
    renameSync(own, DIRECTORY)
    return null
  } catch (error) {
    rmSync(own, { recursive: true, force: true })
    return error instanceof Error ? error.message : String(error)
  }
}

/** The mirror that this machine has its packages from. */
function mirror(): string {
  const format = ['--format', '$(REPO_URI) $(CODENAME)', 'Created-By: Packages']
  const main = run('apt-get', ['indextargets', ...format])
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, codename]) => codename !== undefined && /^[a-z]+$/.test(codename))
  if (main?.[0] === undefined) throw new Error('this machine has no mirror of Debian')
  return main[0]
}

/** Downloads the packages with all that they depend on, as if nothing were installed. */
function download(directory: string, from: string): void {
  writeFileSync(join(directory, 'sources.list'), `deb [signed-by=${KEYS}] ${from} ${SUITE} main\n`)
  writeFileSync(join(directory, 'status'), '')
  const settings = [
    `Dir::Etc::sourcelist=${directory}/sources.list`,
    'Dir::Etc::sourceparts=/dev/null',
    `Dir::State::lists=${directory}/lists`,
    `Dir::State::status=${directory}/status`,
    `Dir::Cache=${directory}/cache`,
    'APT::Sandbox::User=root',
    'Debug::NoLocking=true',
  ].flatMap((setting) => ['-o', setting])
  run('apt-get', [...settings, '--error-on=any', 'update'])
  run('apt-get', [...settings, '-y', '--no-install-recommends', '--download-only', 'install', ...PACKAGES])
}

/** A command that starts the program with the C library that it was made for, in the same process. */
function writeStarter(directory: string, path: string): void {
  const program = join(directory, 'root', path)
  const root = join(DIRECTORY, 'root')
  const [loader] = globSync('usr/lib*/ld-linux-*.so.*', { cwd: join(directory, 'root') })
  const isDynamic = readFileSync(program).subarray(0, 4096).includes('/ld-linux')
  if (isDynamic && loader === undefined) throw new Error(`${SUITE} has no loader for ${path}`)
  const libraries = globSync('usr/lib/*-linux-gnu', { cwd: join(directory, 'root') }).map((name) => join(root, name))
  const command = isDynamic ? `${join(root, loader ?? '')} --library-path ${libraries.join(':')} ` : ''
  const starter = join(directory, 'bin', path.slice(path.lastIndexOf('/') + 1))
  writeFileSync(starter, `#!/bin/sh\nexec ${command}${join(root, path)} "$@"\n`)
  chmodSync(starter, 0o755)
}

function run(command: string, argv: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, argv, { encoding: 'utf8', timeout: STEP_MS })
  if (status !== 0)
    throw new Error(`${command} failed: ${(stderr ?? '').trim().split('\n').at(-1) ?? 'it is not there'}`)
  return stdout
}
