// What the gateway's processes take, as the kernel has it.

import { readdirSync, readFileSync } from 'node:fs'

/** What some processes take together. */
export interface Taken {
  /** Pages that a process has for itself alone: what is shared, as the program's text, would count once for each. */
  readonly memoryMiB: number
  readonly descriptors: number
}

/** What a gateway takes. */
export interface GatewayTaken {
  readonly primary: Taken
  readonly workers: Taken
  readonly all: Taken
}

/** @param primaries all processes that were the gateway's primary, of which some may have ended */
export function takenBy(primaries: readonly number[]): GatewayTaken {
  const seen = new Set(primaries)
  const pids = [...primaries]
  // Those that are started while this goes on are found with the next look.
  for (const pid of pids) {
    for (const child of childrenOf(pid)) if (seen.size < seen.add(child).size) pids.push(child)
  }
  const primary = sum(primaries.map(takenByOne))
  const workers = sum(pids.slice(primaries.length).map(takenByOne))
  return { primary, workers, all: sum([primary, workers]) }
}

function childrenOf(pid: number): readonly number[] {
  return (readIfThere(`/proc/${pid}/task/${pid}/children`) ?? '').split(' ').filter(Boolean).map(Number)
}

function takenByOne(pid: number): Taken {
  const text = readIfThere(`/proc/${pid}/smaps_rollup`) ?? ''
  const kibibytes = [...text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)].map(([, number]) => Number(number))
  return { memoryMiB: kibibytes.reduce((all, one) => all + one, 0) / 1024, descriptors: descriptorsOf(pid) }
}

/** Open descriptors of a process; 0 when it has ended. */
export function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length
  } catch {
    return 0
  }
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null // it has ended
  }
}

function sum(all: readonly Taken[]): Taken {
  return {
    memoryMiB: all.reduce((total, one) => total + one.memoryMiB, 0),
    descriptors: all.reduce((total, one) => total + one.descriptors, 0),
  }
}
