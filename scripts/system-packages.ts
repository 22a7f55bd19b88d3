// Sees to it that what the tests need from the system is there. Runs as root: installs what is missing, on Debian and its
// descendants. Otherwise: prints the one command that does. The benchmark does the same with `provide`.

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Something that has to be there. */
export interface Need {
  /** A command, looked for in the path, or the absolute path of a file. */
  readonly command: string
  readonly debianPackage: string
}

/** What the packages are made with. */
export const PACKAGING_NEEDS: readonly Need[] = [
  { command: 'strip', debianPackage: 'binutils' },
  { command: 'patchelf', debianPackage: 'patchelf' },
  { command: 'rpmbuild', debianPackage: 'rpm' },
  { command: 'dpkg-deb', debianPackage: 'dpkg' },
  { command: 'createrepo_c', debianPackage: 'createrepo-c' },
  { command: 'xorriso', debianPackage: 'xorriso' },
  { command: 'gpg', debianPackage: 'gpg' },
  { command: 'gpg-agent', debianPackage: 'gpg-agent' },
]

const NEEDS: readonly Need[] = [
  { command: 'nginx', debianPackage: 'nginx-light' },
  // Another gunicorn in the path may belong to a Python that has none of Debian's modules.
  { command: '/usr/bin/gunicorn', debianPackage: 'gunicorn' },
  { command: 'curl', debianPackage: 'curl' },
  // One more reader of requests, for the fuzzer.
  { command: '/usr/lib/python3/dist-packages/h11/__init__.py', debianPackage: 'python3-h11' },
  // Blocks of YAML on the documentation's pages are read with it.
  { command: '/usr/lib/python3/dist-packages/yaml/__init__.py', debianPackage: 'python3-yaml' },
  { command: 'python3', debianPackage: 'python3' },
  { command: 'redis-server', debianPackage: 'redis-server' },
  { command: 'openssl', debianPackage: 'openssl' },
  { command: 'ip', debianPackage: 'iproute2' },
  { command: 'stunnel', debianPackage: 'stunnel4' },
  { command: 'gcc', debianPackage: 'gcc' },
  // Shells whose completion is tried.
  { command: 'zsh', debianPackage: 'zsh' },
  { command: 'fish', debianPackage: 'fish' },
  // The packages are made, and installed below a directory of their own.
  ...PACKAGING_NEEDS,
  { command: '/bin/busybox', debianPackage: 'busybox-static' },
  { command: 'dnf', debianPackage: 'dnf' },
  { command: 'systemd-analyze', debianPackage: 'systemd' },
  { command: 'unshare', debianPackage: 'util-linux' },
  { command: 'man', debianPackage: 'man-db' },
  // Headers, which gcc does not bring; the command comes with them.
  { command: 'gencat', debianPackage: 'libc6-dev' },
  // Each awk that a host may have runs the script that derives stunnel's file.
  { command: 'gawk', debianPackage: 'gawk' },
  { command: '/usr/bin/mawk', debianPackage: 'mawk' },
  { command: 'setfacl', debianPackage: 'acl' },
  // The clock that daemons see is moved; the command brings the library.
  { command: 'faketime', debianPackage: 'faketime' },
  // The dashboard is looked at in it.
  { command: '/usr/bin/chromium', debianPackage: 'chromium' },
]

/** A package that brings a daemon asks this program whether it may start it; 101 is "no". */
const POLICY_FILE = '/usr/sbin/policy-rc.d'
const POLICY = '#!/bin/sh\nexit 101\n'

if (import.meta.main) process.exitCode = provide(NEEDS, 'The tests')

/** @param who what needs it, for the messages. @returns the exit code: 0 when all of `needs` is there */
export function provide(needs: readonly Need[], who: string): number {
  const missing = missingOf(needs)
  if (missing.length === 0) return 0
  if (process.getuid?.() !== 0) {
    say(howToInstall(missing, who))
    return 1
  }
  const install = installCommand(missing)
  say(`${who} need ${missing.join(', ')}: installing`)
  if (withoutDaemons(() => runs(['apt-get', 'update']) && runs(install))) return 0
  say(`Could not install ${missing.join(', ')}; see above`)
  return 1
}

/** Debian packages that are not there, of those that `needs` names. */
export function missingOf(needs: readonly Need[]): string[] {
  const names = needs.filter(({ command }) => !isThere(command)).map(({ debianPackage }) => debianPackage)
  return [...new Set(names)]
}

/** Tells a person what `who` needs, with the one command that installs it. */
export function howToInstall(missing: readonly string[], who: string): string {
  return `${who} need ${missing.join(', ')}. Install with:\n\n  sudo ${installCommand(missing).join(' ')}\n`
}

function installCommand(packages: readonly string[]): string[] {
  return ['apt-get', 'install', '-y', '--no-install-recommends', ...packages]
}

function isThere(command: string): boolean {
  // Daemons are in sbin, which the path of a user who is not root often lacks.
  const directories = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  if (command.startsWith('/')) return existsSync(command)
  return directories.some((directory) => isExecutable(join(directory, command)))
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function runs([command = '', ...argv]: readonly string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  return spawnSync(command, argv, { stdio: ['ignore', 2, 2], env }).status === 0
}

/** Keeps packages from starting their daemons while `install` runs. A policy that is there already stays. */
function withoutDaemons(install: () => boolean): boolean {
  const isOurs = writePolicy()
  try {
    return install()
  } finally {
    if (isOurs) rmSync(POLICY_FILE, { force: true })
  }
}

function writePolicy(): boolean {
  try {
    writeFileSync(POLICY_FILE, POLICY, { flag: 'wx', mode: 0o755 })
    return true
  } catch {
    return false
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
