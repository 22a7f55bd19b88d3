// Runs the tests again and again while other processes burn the processor, and says which failed in which round: a suite that
// fails by chance hides what fails by fault.
//
//   npm run test:repeat -- [ROUNDS] [FILE…]      10 rounds of everything, unless told otherwise

import { spawn, spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'

const PATTERNS = ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts']

process.exitCode = main()

function main(): number {
  const { positionals } = parseArgs({ allowPositionals: true })
  const [first = '10', ...files] = positionals
  const rounds = Number(first)
  if (!Number.isInteger(rounds) || rounds < 1) {
    process.stderr.write(`the number of rounds has to be a whole number, and is ${first}\n`)
    return 2
  }
  const burners = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  try {
    const failed = Array.from({ length: rounds }, (_, index) => round(index + 1, rounds, files)).filter((ok) => !ok)
    process.stdout.write(`${rounds - failed.length} of ${rounds} rounds passed\n`)
    return failed.length === 0 ? 0 : 1
  } finally {
    for (const burner of burners) burner.kill('SIGKILL')
  }
}

/** @returns whether all tests passed */
function round(number: number, of: number, files: readonly string[]): boolean {
  const startedMs = performance.now()
  const argv = ['-C', '@xengate/source', '--test', '--test-concurrency=3', '--test-timeout=120000']
  const { status, stdout } = spawnSync(process.execPath, [...argv, ...(files.length > 0 ? files : PATTERNS)], {
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
    env: { ...process.env, NODE_COMPILE_CACHE: 'node_modules/.cache/compile' },
  })
  const seconds = Math.round((performance.now() - startedMs) / 1000)
  process.stdout.write(`round ${number} of ${of}: ${status === 0 ? 'passed' : 'FAILED'} in ${seconds} s\n`)
  if (status !== 0) process.stdout.write(`${stdout.slice(stdout.indexOf('failing tests:'))}\n`)
  return status === 0
}
