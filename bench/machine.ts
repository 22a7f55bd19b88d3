// The machine and the versions that a result belongs to.

import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import type { Bench } from './bench.ts'
import { describeGuest } from './guest.ts'
import { SYSTEM_PATH } from './host.ts'

export interface Machine {
  readonly date: string
  /** What was typed. */
  readonly command: string
  readonly processor: string
  readonly cores: number
  readonly peerCore: number
  readonly loadCore: number
  readonly memoryGib: number
  readonly kernel: string
  /** Whether it is a guest of another machine, in words; undefined in results from before this was looked at. */
  readonly guest?: string
  /** What a system call that does nothing costs, in nanoseconds; undefined likewise. */
  readonly systemCallNs?: number
  readonly system: string
  /** The commit, with `-dirty` when files were changed since. */
  readonly commit: string
  readonly versions: Readonly<Record<string, string>>
  /** What was measured again later (--update): the command, and the commit. */
  readonly again?: readonly string[]
}

/** @param command what was typed */
export async function describeMachine({ host, programs }: Bench, command: string): Promise<Machine> {
  const cpus = os.cpus()
  return {
    date: new Date().toISOString(),
    command,
    processor: cpus[0]?.model ?? 'unknown',
    cores: cpus.length,
    peerCore: host.peerCore,
    loadCore: host.loadCore,
    memoryGib: Math.round(os.totalmem() / 1024 ** 3),
    kernel: `${os.type()} ${os.release()} ${os.arch()}`,
    guest: describeGuest(),
    systemCallNs: Number(await host.run('peer', programs.systemCall, [])),
    system: /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown',
    commit: firstLine('git', ['describe', '--always', '--dirty']),
    versions: {
      'Node.js': process.version,
      nginx: firstLine('nginx', ['-v']).replace('nginx version: nginx/', ''),
      HAProxy: firstLine('haproxy', ['-v']).replace(/^HAProxy version (\S+).*/, '$1'),
      Caddy: firstLine('caddy', ['version']),
      '@fastify/http-proxy': packageVersion('@fastify/http-proxy'),
      fastify: packageVersion('fastify'),
      Python: firstLine('/usr/bin/python3', ['--version']).replace('Python ', ''),
      gcc: firstLine('gcc', ['-dumpfullversion']),
      wrk: firstLine('wrk', ['-v']).replace(/^wrk (?:debian\/)?(\S+).*/, '$1'),
    },
  }
}

function firstLine(command: string, argv: readonly string[]): string {
  const env = { ...process.env, PATH: SYSTEM_PATH }
  const { stdout, stderr } = spawnSync(command, argv, { encoding: 'utf8', cwd: import.meta.dirname, env })
  return `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n', 1)[0] ?? ''
}

function packageVersion(name: string): string {
  const { version } = createRequire(import.meta.url)(`${name}/package.json`) as { version: string }
  return version
}
