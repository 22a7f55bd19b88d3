// npm run bench: Xengate beside what people would pick instead, on this machine. See README.md.

import { probeRing } from '../packages/gateway/src/transport/ring/probe.ts'
import { type Bench, setUp } from './bench.ts'
import type { Group } from './cases/case.ts'
import { Host } from './host.ts'
import { describeMachine, type Machine } from './machine.ts'
import { unpackNewestPeers } from './newest-peers.ts'
import { HELP, type Options, readOptions, UsageError } from './options.ts'
import { PLAN } from './plan.ts'
import { writeReport } from './report.ts'
import { Results } from './results.ts'
import { planned, runAll } from './run.ts'
import { provideSystemPackages } from './system-packages.ts'

process.exitCode = await main(process.argv.slice(2))

async function main(argv: readonly string[]): Promise<number> {
  let options: Options
  try {
    options = readOptions(argv, knownNames())
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`${error.message}\n\n${HELP}`)
    return 2
  }
  if (options.isHelp) {
    process.stdout.write(HELP)
    return 0
  }
  if (!provideSystemPackages()) return 1
  const problem = unpackNewestPeers()
  if (problem !== null) say(`nginx, HAProxy and Caddy are those that are installed: ${problem}`)
  return run(options, argv)
}

async function run(options: Options, argv: readonly string[]): Promise<number> {
  const plan = planned(PLAN, options, hasRing())
  if (plan.length === 0) {
    say('none of these peers takes any of these cases')
    return 2
  }
  const host = new Host()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      host.close()
      process.exit(130)
    })
  }
  try {
    const bench = await setUp(host)
    const machine = await describeMachine(bench, `npm run bench${argv.length === 0 ? '' : ` -- ${argv.join(' ')}`}`)
    return await measure(bench, options, plan, machine)
  } catch (error) {
    say(explained(error))
    return 1
  } finally {
    host.close()
  }
}

async function measure(bench: Bench, options: Options, plan: readonly Group[], machine: Machine): Promise<number> {
  const startedMs = performance.now()
  const results = new Results()
  const write = (isComplete: boolean): string =>
    writeReport({ results, plan: options.isUpdate ? PLAN : plan, options, machine, isComplete })
  try {
    const failures: Error[] = []
    await runAll({ bench, options, say, results, failures }, plan)
    const path = write(failures.length === 0)
    say(`${Math.round((performance.now() - startedMs) / 1000)} s; the results are in ${path}`)
    for (const failure of failures) say(explained(failure))
    return failures.length === 0 ? 0 : 1
  } catch (error) {
    if (results.rows.length > 0) say(`what was measured before is in ${write(false)}`)
    throw error
  }
}

/** Whether peers on io_uring can run here; one line says why they cannot. */
function hasRing(): boolean {
  const probed = probeRing()
  if (!probed.works) say(`xengate-ring and what else is on io_uring is left out: ${probed.reason}`)
  return probed.works
}

/** Names of all cases and peers, of a quick run and of a whole one. */
function knownNames(): { readonly cases: readonly string[]; readonly peers: readonly string[] } {
  const names = { cases: [], peers: [] }
  const quick = readOptions(['--quick'], names)
  const whole = readOptions([], names)
  return {
    cases: PLAN.flatMap(({ cases }) => cases.map(({ name }) => name)),
    peers: [...new Set(PLAN.flatMap(({ peers }) => [...peers(whole), ...peers(quick)].map(({ name }) => name)))],
  }
}

function explained(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : `${error.message}: ${explained(error.cause)}`
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
