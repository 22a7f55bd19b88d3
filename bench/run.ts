// The rounds: each peer of each group in turn, in an order that rotates.

import type { Bench } from './bench.ts'
import type { Case, Group } from './cases/case.ts'
import { latencyHalf, latencyMost } from './cases/latency.ts'
import { keepAlive } from './cases/requests.ts'
import type { Options } from './options.ts'
import { checkPeer, type Peer, type Running } from './peers/peer.ts'
import type { Results } from './results.ts'

/** Says what is going on, to a person. */
export type Say = (text: string) => void

/**
 * The part of `plan` that the options ask for: groups without peers or cases are left out.
 * @param hasRing whether peers on io_uring can run here
 */
export function planned(plan: readonly Group[], options: Options, hasRing: boolean): readonly Group[] {
  const { peers, cases } = options
  const needsRates = cases?.some((name) => name === latencyHalf.name || name === latencyMost.name) === true
  const wanted = needsRates ? [keepAlive.name, ...cases] : cases
  return plan
    .map((group) => ({
      ...group,
      peers: () =>
        group
          .peers(options)
          .filter((peer) => (hasRing || peer.isOnRing !== true) && (peers === null || peers.includes(peer.name))),
      cases: group.cases.filter(({ name }) => wanted === null || wanted.includes(name)),
    }))
    .filter((group) => group.cases.length > 0 && group.peers().length > 0)
}

/** Peers that a quick run asks for the first case only. */
const SKIPPED_IN_QUICK: ReadonlySet<string> = new Set(['direct', 'nginx-cached', 'caddy', 'fastify'])

function isMeasured(of: Case, peer: Peer, { isQuick, peers }: Options): boolean {
  return !isQuick || peers !== null || of === keepAlive || !SKIPPED_IN_QUICK.has(peer.name)
}

/** What a run works with. */
export interface Run {
  readonly bench: Bench
  readonly options: Options
  readonly say: Say
  /** Takes what is measured, and what could not be. */
  readonly results: Results
  readonly failures: Error[]
}

/** Measures everything in `plan`. */
export async function runAll(run: Run, plan: readonly Group[]): Promise<void> {
  for (const group of plan) await (group.isStartedOnce === true ? takeTurns(run, group) : startEachTime(run, group))
}

async function startEachTime(run: Run, group: Group): Promise<void> {
  for (let round = 0; round < run.options.rounds; round++) {
    for (const peer of rotated(group.peers(run.options), round)) {
      const cases = group.cases.filter((each) => isMeasured(each, peer, run.options))
      if (cases.length === 0) continue
      const running = await started(run.bench, peer)
      for (const each of cases) await measure(run, round, each, peer, running)
      await running.stop()
    }
  }
}

async function takeTurns(run: Run, group: Group): Promise<void> {
  const all: { readonly peer: Peer; readonly running: Running }[] = []
  for (const peer of group.peers(run.options)) {
    run.say(`starting ${peer.title}`)
    all.push({ peer, running: await started(run.bench, peer) })
  }
  for (let round = 0; round < run.options.rounds; round++) {
    for (const { peer, running } of rotated(all, round)) {
      for (const each of group.cases) await measure(run, round, each, peer, running)
    }
  }
  for (const { running } of all) await running.stop()
}

async function started(bench: Bench, peer: Peer): Promise<Running> {
  const running = await peer.start(bench)
  if (running.url !== '') await checkPeer(peer, running)
  return running
}

async function measure(run: Run, round: number, of: Case, peer: Peer, running: Running): Promise<void> {
  const { bench, options, results, say } = run
  try {
    const measurement = await of.measure({ bench, options, peer, running, results })
    results.add(of.name, peer, measurement)
    const values = Object.entries(measurement).map(([name, value]) => `${name} ${value.toPrecision(4)}`)
    say(`round ${round + 1}/${options.rounds}  ${of.name}  ${peer.name}: ${values.join(', ')}`)
  } catch (error) {
    // The other measurements of a long run are not lost by this one.
    run.failures.push(new Error(`cannot measure ${of.name} of ${peer.name}`, { cause: error }))
    say(`round ${round + 1}/${options.rounds}  ${of.name}  ${peer.name}: failed`)
  }
}

/** `all`, beginning with another one in each round. */
function rotated<Item>(all: readonly Item[], round: number): readonly Item[] {
  const first = round % all.length
  return [...all.slice(first), ...all.slice(0, first)]
}
