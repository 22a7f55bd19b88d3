// What the system knows of the daemon's processes, by the names that prom-client has for it. It is read from `/proc` when somebody asks, so
// that no worker is woken up for it.

import { readdirSync, readFileSync } from 'node:fs'
import { type Series, seriesOf } from './sums.ts'

/** Ticks of the clock by which the kernel tells CPU time: the same on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100

/** Of `/proc/PID/stat`, counted from the state on, which follows the program's name. */
const STAT = { USER: 11, SYSTEM: 12, STARTED: 19 } as const

/** What is to be told of a process; nothing where it is gone. @param name its value of the label `process` */
export function processSeries(pid: number, name: string, bootMs: number): readonly Series[] {
  const stat = statOf(pid)
  if (stat === undefined) return []
  const [user, system] = [STAT.USER, STAT.SYSTEM].map((at) => (stat[at] ?? 0) / TICKS_PER_SECOND) as [number, number]
  return [
    seriesOf('process_cpu_user_seconds_total', user, name),
    seriesOf('process_cpu_system_seconds_total', system, name),
    seriesOf('process_cpu_seconds_total', user + system, name),
    seriesOf('process_start_time_seconds', bootMs / 1000 + (stat[STAT.STARTED] ?? 0) / TICKS_PER_SECOND, name),
    ...memorySeries(pid, name),
    ...descriptorSeries(pid, name),
  ]
}

function statOf(pid: number): readonly number[] | undefined {
  const text = read(`/proc/${pid}/stat`)
  if (text === '') return undefined
  return text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)
}

function memorySeries(pid: number, name: string): readonly Series[] {
  const text = read(`/proc/${pid}/status`)
  const bytes = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024
  return [
    seriesOf('process_resident_memory_bytes', bytes('VmRSS'), name),
    seriesOf('process_virtual_memory_bytes', bytes('VmSize'), name),
  ]
}

/** Empty where nobody can tell. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Not told of a worker of another user to a primary that is not root. */
function descriptorSeries(pid: number, name: string): readonly Series[] {
  try {
    const open = readdirSync(`/proc/${pid}/fd`).length
    const [, max = ''] = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? []
    return [
      seriesOf('process_open_fds', open, name),
      ...(max === '' ? [] : [seriesOf('process_max_fds', Number(max), name)]),
    ]
  } catch {
    return []
  }
}

/** When the system was started, in milliseconds since the epoch. */
export function bootTimeMs(): number {
  return Number(/^btime (\d+)$/m.exec(read('/proc/stat'))?.[1] ?? 0) * 1000
}

/** What Node.js knows of this process. */
export function nodeSeries(name: string): readonly Series[] {
  const { heapTotal, heapUsed, external } = process.memoryUsage()
  const [major = '', minor = '', patch = ''] = process.versions.node.split('.')
  return [
    seriesOf('nodejs_heap_size_total_bytes', heapTotal, name),
    seriesOf('nodejs_heap_size_used_bytes', heapUsed, name),
    seriesOf('nodejs_external_memory_bytes', external, name),
    seriesOf('nodejs_version_info', 1, process.version, major, minor, patch),
  ]
}
