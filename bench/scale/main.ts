// npm run bench:scale: what a pool's gateways cost their Valkey, with 3, 30 and 300 of them. See docs/scale.md.

import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { type Machine, scaleTables } from './report.ts'
import { type Measured, simulate } from './simulation.ts'

const SIZES = [3, 30, 300]
const RESULTS = join(import.meta.dirname, '../results/scale')

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

function commit(): string {
  return spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).stdout.trim()
}

const startedMs = performance.now()
const measured: Measured[] = []
let server = ''
for (const gateways of SIZES) {
  const { server: version, ...rest } = await simulate(gateways, say)
  server = version
  measured.push(rest)
}
const machine: Machine = {
  date: new Date().toISOString(),
  command: 'npm run bench:scale',
  processor: os.cpus()[0]?.model ?? 'unknown',
  cores: os.cpus().length,
  memoryGib: Math.round(os.totalmem() / 1024 ** 3),
  kernel: `${os.type()} ${os.release()} ${os.arch()}`,
  commit: commit(),
  node: process.version,
  server,
}
mkdirSync(RESULTS, { recursive: true })
writeFileSync(join(RESULTS, 'scale.json'), `${JSON.stringify({ machine, measured }, null, 2)}\n`)
writeFileSync(join(RESULTS, 'scale.md'), scaleTables(machine, measured))
say(`${Math.round((performance.now() - startedMs) / 1000)} s; the results are in ${RESULTS}`)
