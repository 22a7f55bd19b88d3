// How much memory this process uses of what it may have: of Node.js's heap, which ends the process when it is full, and of the control
// group of its systemd unit, whose processes the kernel ends. What is nearer to its end counts. Resident memory says less: it stays for long
// after a burst, and has no limit of its own to be compared with. Other groups are not only the gateway's.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { getHeapStatistics } from 'node:v8'
import type { Use } from './overload.ts'

/** How long what was read of the control group is good for: it takes two files. */
const GROUP_MS = 2000
/** Larger than any machine's: what version 1 says where there is no limit. */
const NO_LIMIT = 2 ** 60

const NOTHING: Use = Object.freeze({ used: 0, limit: Number.POSITIVE_INFINITY })

/** Files of a control group: version 2, and before it version 1. */
interface GroupFiles {
  readonly root: string
  /** The unit's path in what `/proc/self/cgroup` says. */
  readonly pattern: RegExp
  readonly limit: string
  readonly used: string
  /** Of `memory.stat`, what the kernel gives up when somebody needs it. */
  readonly spare: RegExp
}

interface Group {
  readonly directory: string
  readonly files: GroupFiles
  readonly limit: number
}

const VERSIONS: readonly GroupFiles[] = [
  {
    root: '/sys/fs/cgroup',
    pattern: /^0::(\/.*\.service)(?:\/.*)?$/m,
    limit: 'memory.max',
    used: 'memory.current',
    spare: /^inactive_file (\d+)$/m,
  },
  {
    root: '/sys/fs/cgroup/memory',
    pattern: /^\d+:memory:(\/.*\.service)(?:\/.*)?$/m,
    limit: 'memory.limit_in_bytes',
    used: 'memory.usage_in_bytes',
    spare: /^total_inactive_file (\d+)$/m,
  },
]

/** See the head of this file. */
export class MemoryUse {
  readonly #group: Group | null
  #groupUse: Use = NOTHING
  #readMs = Number.NEGATIVE_INFINITY

  /** @param root where the system's files are, for tests */
  constructor(root: string = '/') {
    this.#group = findGroup(root)
  }

  /** @param nowMs on a clock that does not go back */
  at(nowMs: number): Use {
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
    if (nowMs - this.#readMs >= GROUP_MS) {
      this.#readMs = nowMs
      this.#groupUse = this.#readGroup()
    }
    const group = this.#groupUse
    return group.used / group.limit > used / limit ? group : { used, limit }
  }

  #readGroup(): Use {
    if (this.#group === null) return NOTHING
    const { directory, files, limit } = this.#group
    const used = Number(read(join(directory, files.used)))
    const spare = Number(files.spare.exec(read(join(directory, 'memory.stat')))?.[1] ?? 0)
    return { used: Math.max(0, used - spare), limit }
  }
}

/** The group of the unit that this process is of, if it has a limit. */
function findGroup(root: string): Group | null {
  const groups = read(join(root, 'proc/self/cgroup'))
  for (const files of VERSIONS) {
    const [, path = ''] = files.pattern.exec(groups) ?? []
    const directory = join(root, files.root, path)
    const limit = path === '' ? 0 : Number(read(join(directory, files.limit)))
    if (limit > 0 && limit < NO_LIMIT) return { directory, files, limit }
  }
  return null
}

/** Empty where there is nothing, or nobody may read it. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
