// What the operating system says of processes: CPU time and memory, from /proc.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** Ticks of utime and stime in a second; 100 on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100

/** `roots` and all their descendants that are alive. */
export function treeOf(roots: readonly number[]): readonly number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const fields = statFields(Number(name))
    if (fields !== undefined) parents.set(Number(name), Number(fields[1]))
  }
  const isWithin = (pid: number): boolean => {
    for (let at: number | undefined = pid; at !== undefined && at > 1; at = parents.get(at)) {
      if (roots.includes(at)) return true
    }
    return false
  }
  return [...parents.keys()].filter((pid) => isWithin(pid))
}

/** The fields of /proc/<pid>/stat from the state (field 3) on; undefined when the process is gone. */
function statFields(pid: number): readonly string[] | undefined {
  const text = read(`/proc/${pid}/stat`)
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}

/** CPU seconds, user and system, that `roots` and their descendants have used: all threads, and children that ended. */
export function cpuSeconds(roots: readonly number[]): number {
  let ticks = 0
  for (const pid of treeOf(roots)) {
    // Fields 14 to 17: utime, stime, cutime, cstime.
    for (const field of statFields(pid)?.slice(11, 15) ?? []) ticks += Number(field)
  }
  return ticks / TICKS_PER_SECOND
}

/** The same of threads that are alive, as the scheduler counts it: not in ticks of 10 ms, of which an idle process uses none or one. */
export function runSeconds(roots: readonly number[]): number {
  let nanoseconds = 0
  for (const pid of treeOf(roots)) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(read(`/proc/${pid}/task/${thread}/schedstat`)?.split(' ')[0] ?? 0)
    }
  }
  return nanoseconds / 1e9
}

/** Memory that only `roots` and their descendants have, each its own, and that cannot be given back; in bytes. */
export function privateBytes(roots: readonly number[]): number {
  let bytes = 0
  for (const pid of treeOf(roots)) {
    const found = /^Private_Dirty:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`) ?? '')
    bytes += Number(found?.[1] ?? 0) * 1024
  }
  return bytes
}

/** Resident memory of `roots` and their descendants, in bytes. */
export function residentBytes(roots: readonly number[]): number {
  return sumOf(roots, 'VmRSS')
}

/** The most resident memory since `resetPeak`, in bytes; of several processes the sum of each one's most. */
export function peakBytes(roots: readonly number[]): number {
  return sumOf(roots, 'VmHWM')
}

function sumOf(roots: readonly number[], key: string): number {
  let bytes = 0
  for (const pid of treeOf(roots)) {
    const found = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(read(`/proc/${pid}/status`) ?? '')
    bytes += 1024 * Number(found?.[1] ?? 0)
  }
  return bytes
}

/** Lets `peakBytes` count from now on. */
export function resetPeak(roots: readonly number[]): void {
  for (const pid of treeOf(roots)) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** Cores that this process may run on, in their order. */
export function allowedCores(): readonly number[] {
  const list = /^Cpus_allowed_list:\s+(\S+)$/m.exec(read('/proc/self/status') ?? '')?.[1] ?? ''
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, index) => first + index)
  })
}
