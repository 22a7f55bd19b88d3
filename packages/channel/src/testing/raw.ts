// A gateway in literal bytes: sends what a test says with the descriptors that it says, right or wrong.

import { readdirSync } from 'node:fs'
import koffi from 'koffi'
import { AF_UNIX, MSG_NOSIGNAL, pinned, sendmsg, SOCK_CLOEXEC, SOCK_STREAM } from '../libc.ts'

const libc = koffi.load(null)
const socketpair = libc.func('int socketpair(int, int, int, void *)')

/** Two connected sockets, for the test to close. */
export function socketPair(): readonly [number, number] {
  const pair = pinned(8)
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) === -1) throw new Error(`socketpair: ${koffi.errno()}`)
  return [pair.readInt32LE(0), pair.readInt32LE(4)]
}

const HEADER_BYTES = 56
const IOVEC_BYTES = 16
const CONTROL_HEAD_BYTES = 16

/** Sends `bytes` with `descriptors` attached to the first; returns how many bytes the system took. */
export function sendRaw(fd: number, bytes: Uint8Array, descriptors: readonly number[]): number {
  const controlBytes = descriptors.length === 0 ? 0 : CONTROL_HEAD_BYTES + 8 * Math.ceil(descriptors.length / 2)
  // All in one piece: what only an address leads to may be collected before the call.
  const control = HEADER_BYTES + IOVEC_BYTES
  const data = control + controlBytes
  const memory = pinned(data + bytes.length)
  const address = koffi.address(memory)
  memory.set(bytes, data)
  memory.writeBigUInt64LE(address + BigInt(HEADER_BYTES), 16)
  memory.writeBigUInt64LE(1n, 24)
  memory.writeBigUInt64LE(address + BigInt(data), HEADER_BYTES)
  memory.writeBigUInt64LE(BigInt(bytes.length), HEADER_BYTES + 8)
  if (controlBytes > 0) {
    memory.writeBigUInt64LE(address + BigInt(control), 32)
    memory.writeBigUInt64LE(BigInt(controlBytes), 40)
    memory.writeBigUInt64LE(BigInt(CONTROL_HEAD_BYTES + 4 * descriptors.length), control)
    memory.writeInt32LE(1, control + 8) // SOL_SOCKET
    memory.writeInt32LE(1, control + 12) // SCM_RIGHTS
    descriptors.forEach((one, index) => memory.writeInt32LE(one, control + CONTROL_HEAD_BYTES + 4 * index))
  }
  const sent = sendmsg(fd, memory, MSG_NOSIGNAL)
  if (sent === -1) throw new Error(`sendmsg: error ${koffi.errno()}`)
  return sent
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** A first message as the protocol says: length, JSON, bytes. */
export function messageOf(json: string | Uint8Array, received: string = ''): Buffer {
  const text = Buffer.from(json)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  return Buffer.concat([length, text, Buffer.from(received, 'latin1')])
}
