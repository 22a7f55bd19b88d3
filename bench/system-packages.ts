// What the benchmark needs from the system: the peers, the load generator and a C compiler.

import { type Need, provide } from '../scripts/system-packages.ts'

const NEEDS: readonly Need[] = [
  { command: 'nginx', debianPackage: 'nginx-light' },
  { command: 'haproxy', debianPackage: 'haproxy' },
  { command: 'caddy', debianPackage: 'caddy' },
  { command: 'wrk', debianPackage: 'wrk' },
  { command: 'redis-server', debianPackage: 'redis-server' },
  { command: 'openssl', debianPackage: 'openssl' },
  { command: 'gcc', debianPackage: 'gcc' },
  // gencat comes with the C library's headers, which gcc only recommends.
  { command: 'gencat', debianPackage: 'libc6-dev' },
  { command: '/usr/bin/python3', debianPackage: 'python3' },
  { command: 'taskset', debianPackage: 'util-linux' },
]

/** Installs what is missing, or says how to. @returns whether everything is there */
export function provideSystemPackages(): boolean {
  return provide(NEEDS, 'The benchmarks') === 0
}
