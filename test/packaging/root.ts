// A root directory as an old host's: busybox, wrong libraries where programs look for them, and the few commands that scriptlets call.
// Programs in it run as their unit says, in namespaces of their own.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { Child } from '../harness/child.ts'
import { until } from '../harness/deadline.ts'
import type { Scope } from '../harness/scope.ts'

const DIRECTORIES =
  'bin dev etc/systemd/system/stunnel@xapi.service.d etc/xapi.d/plugins etc/xapi.d/extensions etc/xensource/bugtool dev/shm/metrics lib64 opt/xensource/www proc root run sbin tmp usr/bin usr/sbin usr/lib/systemd/system lib/systemd/system usr/share/man/man1 ' +
  'usr/share/man/man5 usr/share/doc var/lib var/log var/tmp var/xapi/plugin'

/** What node, its libraries and the loader would take from a host. */
const LIBRARIES =
  'libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1 libresolv.so.2 libstdc++.so.6 libgcc_s.so.1 libatomic.so.1 ' +
  'ld-linux-x86-64.so.2'

/** The commands of the host that busybox has not, as far as scriptlets need them. */
const COMMANDS: Readonly<Record<string, string>> = {
  // The last argument is the name.
  'usr/sbin/useradd': `for name; do :; done
echo "$name:x:990:990::/:/sbin/nologin" >>/etc/passwd
echo "$name:x:990:" >>/etc/group`,
  'usr/sbin/userdel': 'sed -i "/^$1:/d" /etc/passwd /etc/group',
  'etc/xapi.d/plugins/firewall-port': 'echo "$*" >>/var/log/firewall',
  // Says which version it is, and writes down what it is told.
  'usr/bin/systemctl': `[ "$1" = --version ] && exec echo "systemd $(cat /var/log/systemd-version)"
echo "$*" >>/var/log/systemctl`,
}

/** User and group that scriptlets make here. */
export const XENGATE_ID = 990

/** What a unit says about how its program runs. */
export interface UnitProcess {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly capabilities: number
  readonly user: string
  /** How /proc is mounted for it; default: as usual. */
  readonly proc?: string
}

export class Root {
  readonly directory: string
  readonly #scope: Scope
  readonly #launcher: string
  /** Process in whose namespaces programs run; null while each has its own. */
  #machine: number | null = null

  private constructor(scope: Scope, directory: string, launcher: string) {
    this.#scope = scope
    this.directory = directory
    this.#launcher = launcher
  }

  static async make(scope: Scope): Promise<Root> {
    const directory = await scope.directory()
    chmodSync(directory, 0o755)
    for (const one of DIRECTORIES.split(' ')) mkdirSync(join(directory, one), { recursive: true })
    chmodSync(join(directory, 'tmp'), 0o1777)
    execFileSync('mknod', ['-m', '666', join(directory, 'dev/null'), 'c', '1', '3'])
    execFileSync('mknod', ['-m', '666', join(directory, 'dev/urandom'), 'c', '1', '9'])
    installBusybox(directory)
    const build = await scope.directory()
    installWrongLibraries(directory, build)
    const launcher = join(build, 'as-on-host')
    execFileSync('gcc', ['-Wall', '-o', launcher, join(import.meta.dirname, 'as-on-host.c')])
    const root = new Root(scope, directory, launcher)
    root.write('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n')
    root.write('etc/group', 'root:x:0:\n')
    root.setSystemd(219)
    return root
  }

  /** What dpkg takes for a system without packages. */
  prepareDpkg(): void {
    mkdirSync(this.path('var/lib/dpkg/info'), { recursive: true })
    mkdirSync(this.path('var/lib/dpkg/updates'))
    this.write('var/lib/dpkg/status', '')
    // By this scriptlets know that systemd runs.
    mkdirSync(this.path('run/systemd/system'), { recursive: true })
  }

  path(inside: string): string {
    return join(this.directory, inside)
  }

  read(inside: string): string {
    return readFileSync(this.path(inside), 'utf8')
  }

  write(inside: string, text: string): void {
    writeFileSync(this.path(inside), text)
  }

  has(inside: string): boolean {
    return existsSync(this.path(inside))
  }

  /** The version that systemctl says. */
  setSystemd(version: number): void {
    this.write('var/log/systemd-version', `${version}\n`)
  }

  /** What systemctl was told since this was asked last. */
  takeSystemctlCalls(): string[] {
    if (!this.has('var/log/systemctl')) return []
    const lines = this.read('var/log/systemctl').trimEnd().split('\n')
    execFileSync('rm', [this.path('var/log/systemctl')])
    return lines
  }

  /**
   * Until the scope ends, programs in the root see each other's processes, and have a loopback of their own, where all ports are
   * free. @returns what runs the program that follows it in that network, and outside the root
   */
  async becomeMachine(scope: Scope): Promise<readonly string[]> {
    const script = 'mount -t proc proc "$0/proc" && ip link set lo up && echo up && exec sleep infinity'
    const namespaces = ['--mount', '--pid', '--net', '--fork', '--kill-child']
    const first = new Child(scope, 'unshare', [...namespaces, 'sh', '-c', script, this.directory])
    await first.printed(({ stdout }) => stdout === 'up\n' || undefined, 'its network')
    const [machine = 0] = childrenOf(first.pid)
    this.#machine = machine
    scope.defer(() => {
      this.#machine = null
      process.kill(machine, 'SIGKILL') // and all that runs there with it
    })
    return ['nsenter', `--target=${machine}`, '--net']
  }

  /** Starts a program in the root, with a process tree of its own unless the root is a machine. */
  async start(unit: UnitProcess): Promise<Inside> {
    const id = String(unit.user === 'root' ? 0 : XENGATE_ID)
    const argv = [this.#launcher, this.directory, String(unit.capabilities), id, id, ...unit.argv]
    const env = { PATH: '/bin:/usr/bin', ...unit.env }
    const child = new Child(this.#scope, ...this.#inNamespaces(argv, unit.proc ?? 'rw'), { env })
    const inside = new Inside(child)
    // Signals do not go through unshare.
    this.#scope.defer(() => inside.end())
    return inside
  }

  #inNamespaces(argv: readonly string[], proc: string): [string, string[]] {
    if (this.#machine !== null) {
      return ['nsenter', [`--target=${this.#machine}`, '--mount', '--pid', '--net', ...argv]]
    }
    const script = `mount -t proc -o ${proc} proc "$1/proc" && exec "$0" "$@"`
    return ['unshare', ['--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', script, ...argv]]
  }

  /** Runs a program in the root to its end, as root. */
  async run(argv: readonly string[], input = ''): Promise<string> {
    const { child } = await this.start({ argv, env: {}, capabilities: ALL_CAPABILITIES, user: 'root' })
    child.process.stdin?.end(input)
    const { code } = await child.exited
    if (code !== 0) throw new Error(`"${argv.join(' ')}" ended with ${code}: ${child.stdout}${child.stderr}`)
    return child.stdout
  }

  /** Every file with what it is, but for databases of packages, and what tests write down. */
  snapshot(): string[] {
    return readdirSync(this.directory, { recursive: true, withFileTypes: true })
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => `${path.slice(this.directory.length)} ${describeFile(path)}`)
      .filter((line) => !/^\/(var\/lib\/(rpm|dpkg|dnf)|var\/cache|var\/log)\b/.test(line))
      .toSorted()
  }
}

/** A program in a root. */
export class Inside {
  readonly child: Child

  constructor(child: Child) {
    this.child = child
  }

  /** Its process, as this system numbers it. */
  async pid(): Promise<number> {
    return until(() => childrenOf(this.child.pid).at(0), 'the process in the namespace')
  }

  async signal(name: NodeJS.Signals): Promise<void> {
    process.kill(await this.pid(), name)
  }

  /** Ends it as systemd does. */
  async end(): Promise<void> {
    if (!this.child.hasEnded) await this.signal('SIGTERM').catch(() => {}) // it may end meanwhile
    await this.child.exited
  }
}

export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

const ALL_CAPABILITIES = 0xffffffff
/** The numbers of capabilities, in linux/capability.h. */
const CAPABILITIES: Readonly<Record<string, number>> = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_FOWNER: 3,
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_NET_BIND_SERVICE: 10,
}

/** Reads from a unit how its program runs. */
export function unitProcess(text: string): UnitProcess {
  const valueOf = (key: string): string => new RegExp(`^${key}=(.*)$`, 'm').exec(text)?.[1] ?? ''
  const [name = '', value = ''] = valueOf('Environment').split('=')
  const capabilities = valueOf('CapabilityBoundingSet')
  return {
    argv: valueOf('ExecStart').split(' '),
    env: { [name]: value },
    capabilities:
      capabilities === ''
        ? ALL_CAPABILITIES
        : capabilities.split(' ').reduce((mask, one) => mask | (1 << (CAPABILITIES[one] ?? 31)), 0),
    user: valueOf('User'),
  }
}

function installBusybox(directory: string): void {
  copyFileSync('/bin/busybox', join(directory, 'bin/busybox'))
  const names = execFileSync('busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n')
  for (const name of names) {
    if (name !== 'busybox') symlinkSync('busybox', join(directory, 'bin', name))
  }
  for (const [path, script] of Object.entries(COMMANDS)) {
    writeFileSync(join(directory, path), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
}

/** Libraries without anything in them: a program that takes one of them does not start. */
function installWrongLibraries(directory: string, build: string): void {
  const empty = join(build, 'empty.so')
  execFileSync('gcc', ['-shared', '-nostdlib', '-o', empty, '-x', 'c', '/dev/null'])
  for (const name of LIBRARIES.split(' ')) copyFileSync(empty, join(directory, 'lib64', name))
  execFileSync('/sbin/ldconfig', ['-r', directory, '/lib64'])
}

function describeFile(path: string): string {
  const { mode, uid, gid } = lstatSync(path)
  const owner = `${mode.toString(8)} ${uid}:${gid}`
  const kind = mode & 0o170000
  if (kind === 0o120000) return `${owner} -> ${readlinkSync(path)}`
  if (kind !== 0o100000) return owner
  return `${owner} ${createHash('sha1').update(readFileSync(path)).digest('hex')}`
}
