// Has the completions of the ring come in any order that the kernel might have: those of one operation stay in theirs. The test maps the
// ring's memory once more, and moves what is in it between the call that fills it and the one that reads it.

import { readdirSync, readlinkSync } from 'node:fs'
import { closeDescriptor } from '@xengate/channel'
import { theLoop } from '../../packages/gateway/src/transport/ring/loop.ts'
import { mapMemory, type Mapping, mapShared, unmap } from '../../packages/gateway/src/transport/ring/memory.ts'
import { systemCall } from '../../packages/gateway/src/transport/ring/system.ts'
import type { Random } from '../soak/random.ts'

const IO_URING_SETUP = 425
/** As the loop has them: that is checked by the mask in its memory. */
const ENTRIES = 1024
const COMPLETIONS = 4096
const SETUP_CQSIZE = 1 << 3
/** Words of struct io_uring_params. */
const PARAMS = { completions: 1, flags: 2, head: 20, tail: 21, mask: 22, cqes: 25 } as const
const COMPLETION_WORDS = 4

/** Where things are in a ring's memory, in words. */
interface Layout {
  readonly head: number
  readonly tail: number
  readonly mask: number
  readonly cqes: number
}

function layout(): Layout {
  const params = mapMemory(4096)
  params.words[PARAMS.completions] = COMPLETIONS
  params.words[PARAMS.flags] = SETUP_CQSIZE
  const fd = systemCall(IO_URING_SETUP, ENTRIES, params.address, 0, 0, 0, 0)
  if (fd < 0) throw new Error('cannot set up a ring')
  closeDescriptor(fd)
  const word = (index: number): number => (params.words[index] ?? 0) / 4
  const found = { head: word(PARAMS.head), tail: word(PARAMS.tail), mask: word(PARAMS.mask), cqes: word(PARAMS.cqes) }
  unmap(params)
  return found
}

/** The memory of the loop's ring; libuv has rings of its own, of other sizes. */
function memoryOfRing({ mask, cqes }: Layout): Mapping {
  const bytes = (cqes + COMPLETIONS * COMPLETION_WORDS) * 4
  for (const fd of readdirSync('/proc/self/fd')) {
    if (!linkOf(fd).includes('[io_uring]')) continue
    try {
      const mapping = mapShared(bytes, Number(fd), 0)
      if (mapping.words[mask] === COMPLETIONS - 1) return mapping
      unmap(mapping)
    } catch {
      // A smaller one.
    }
  }
  throw new Error('the ring has another size')
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return '' // that of the directory itself
  }
}

/** Begins to shuffle. @returns what ends it, and says how many completions have changed places */
export function shuffleCompletions(random: Random): () => number {
  const { ring } = theLoop()
  const found = layout()
  const { head, tail, cqes } = found
  const mapping = memoryOfRing(found)
  const { words } = mapping
  let moved = 0
  const enter = ring.enter.bind(ring)
  ring.enter = (waitMs) => {
    enter(waitMs)
    const from = words[head] ?? 0
    const count = ((words[tail] ?? 0) - from) | 0
    if (count < 2) return
    const places = Array.from(
      { length: count },
      (_, index) => cqes + ((from + index) & (COMPLETIONS - 1)) * COMPLETION_WORDS,
    )
    const shuffled = shuffle(
      random,
      places.map((at) => [...words.subarray(at, at + COMPLETION_WORDS)]),
    )
    for (const [index, at] of places.entries()) {
      if (words[at] !== shuffled[index]?.[0]) moved++
      words.set(shuffled[index] ?? [], at)
    }
  }
  return () => {
    Reflect.deleteProperty(ring, 'enter')
    unmap(mapping)
    return moved
  }
}

/** Any order in which those of one operation keep theirs. */
function shuffle(random: Random, completions: readonly number[][]): number[][] {
  const queues = new Map<string, number[][]>()
  for (const completion of completions) {
    const operation = `${completion[0]}-${completion[1]}`
    queues.set(operation, [...(queues.get(operation) ?? []), completion])
  }
  const left = [...queues.values()]
  const order: number[][] = []
  while (left.length > 0) {
    const index = random.integer(0, left.length - 1)
    const next = left[index]?.shift()
    if (next !== undefined) order.push(next)
    if (left[index]?.length === 0) left.splice(index, 1)
  }
  return order
}
