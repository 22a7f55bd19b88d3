// Link-local addresses of IPv6, which say by which interface they are reached: in a network of the test's own.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { transports } from './testing/transports.ts'

const DEADLINE_MS = 20_000
const NETWORK = ['-rn', 'sh', '-c', 'ip link set lo up && ip -6 address add fe80::1/64 dev lo nodad && exec "$@"', 'sh']

function run(...argv: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('unshare', [...NETWORK, ...argv], { encoding: 'utf8', timeout: DEADLINE_MS })
}

const canMakeNetworks = run('true').status === 0

for (const { name } of transports()) {
  const skip = canMakeNetworks ? false : 'this takes a network namespace with IPv6'
  test(`${name}: a link-local address comes with its interface`, { timeout: 2 * DEADLINE_MS, skip }, () => {
    const script = join(import.meta.dirname, 'testing/link-local.ts')
    const options = process.execArgv.filter((argument) => !argument.startsWith('--test'))
    const { stdout, stderr } = run(process.execPath, ...options, script, name)
    assert.equal(stdout, JSON.stringify(Array.from({ length: 3 }, () => 'fe80::1%lo')), stderr)
  })
}
