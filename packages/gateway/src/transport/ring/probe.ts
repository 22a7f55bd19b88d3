// Whether the ring works here. It is tried, and not concluded from a version: kernels are configured, and containers filtered.

import { closeDescriptor } from '@xengate/channel'
import { readFileSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { isMainThread } from 'node:worker_threads'
import { BUFFER_GROUP, BUFFER_STRIDE, ReadBuffers } from './buffers.ts'
import { closeRing } from './loop.ts'
import { addressOf, pinned } from './memory.ts'
import { ENTRY_BUFFER_GROUP, ENTRY_BUFFER_SELECT, ENTRY_OPERATION_FLAGS, OPCODE, Ring, RingError } from './ring.ts'
import {
  AF_UNIX,
  EINVAL,
  ENOSYS,
  EPERM,
  findUv,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  socketPair,
} from './system.ts'

/** Whether the ring works, or in words why it does not. */
export type RingProbe = { readonly works: true } | { readonly works: false; readonly reason: string }

let probed: RingProbe | null = null

/** Tries the ring once in a process: set-up, the operations that are used, and one exchange over a socket pair. */
export function probeRing(): RingProbe {
  probed ??= probe()
  return probed
}

function probe(): RingProbe {
  if (!isMainThread) return { works: false, reason: 'io_uring is used by the main thread alone' }
  if (findUv() === null)
    return { works: false, reason: 'this Node.js does not show its libuv, which the ring runs beside' }
  try {
    const ring = new Ring(8, 16)
    try {
      const reason = tryRing(ring)
      return reason === null ? { works: true } : { works: false, reason }
    } finally {
      closeRing(ring)
    }
  } catch (error) {
    // Memory that cannot be mapped is no reason not to serve.
    const reason = error instanceof RingError ? explain(error.errno) : `io_uring fails: ${messageOf(error)}`
    return { works: false, reason }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** @param errno of a call that sets a ring up */
export function explain(errno: number): string {
  switch (errno) {
    case EPERM: {
      const disabled = disabledSetting()
      if (disabled === '0' || disabled === null) return 'io_uring is forbidden (EPERM): a seccomp filter refuses it'
      return `io_uring is forbidden (EPERM): kernel.io_uring_disabled is ${disabled}`
    }
    case ENOSYS:
      return 'io_uring is missing (ENOSYS): the kernel has none, or a seccomp filter hides it'
    case EINVAL:
      return 'the kernel is too old for the ring, which takes Linux 6.1 or later'
    default:
      return `io_uring fails: ${getSystemErrorName(-errno)}`
  }
}

function disabledSetting(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/io_uring_disabled', 'latin1').trim()
  } catch {
    return null
  }
}

/** @returns why it does not work; null when it does */
function tryRing(ring: Ring): string | null {
  if (ring.missing(Object.values(OPCODE)).length > 0) return explain(EINVAL)
  const buffers = new ReadBuffers(ring, 2)
  const pair = pinned(8)
  if (socketPair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) === -1)
    return 'no socket pair can be made'
  const [near, far] = [pair.readInt32LE(0), pair.readInt32LE(4)]
  try {
    return exchange(ring, buffers, near, far)
  } finally {
    closeDescriptor(near)
    closeDescriptor(far)
  }
}

const RECEIVE = 0
const SEND = 1
const SAID = Buffer.from(new Uint8Array([7, 1, 8, 2]).buffer)
const WAIT_MS = 1000

/** Sends from `far` what `near` reads into a buffer of the kernel's choice. */
function exchange(ring: Ring, buffers: ReadBuffers, near: number, far: number): string | null {
  const results: number[] = []
  const slot = ring.claim({ completed: (operation, result) => (results[operation] = result) })
  const read = ring.add(OPCODE.RECV | (ENTRY_BUFFER_SELECT << 8), near, slot, RECEIVE, 0, 0)
  ring.entries[read + ENTRY_BUFFER_GROUP] = BUFFER_GROUP
  const sent = ring.add(OPCODE.SEND, far, slot, SEND, addressOf(SAID), SAID.length)
  ring.entries[sent + ENTRY_OPERATION_FLAGS] = MSG_NOSIGNAL
  for (let call = 0; call < 2; call++) {
    if (results.length < 2 || results[RECEIVE] === undefined) ring.enter(WAIT_MS)
    ring.tell()
  }
  const isRight = results[SEND] === SAID.length && results[RECEIVE] === SAID.length
  const isSame = isRight && [0, 1].some((index) => buffers.bytes.indexOf(SAID) === index * BUFFER_STRIDE)
  return isSame ? null : `io_uring fails: an exchange gave ${results.join(' and ')} instead of ${SAID.length} bytes`
}
