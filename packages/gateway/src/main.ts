// The process: takes care of signals, then gives the command line the world.

import { holdSignals } from './process/signals.ts'

const argv = process.argv.slice(2)
holdSignals(argv[0] === 'serve' || argv[0] === 'dev')

// Who read what is printed may be gone, as with `| head`: what is left to print is lost, and nothing else.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

// Loaded only now: until all of it was there, a signal would have ended the process.
const { run } = await import('./cli/run.ts')

process.exitCode = await run(argv, {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  defaultConfig: '/etc/xengate/xengate.toml',
})
