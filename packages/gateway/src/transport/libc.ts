// The system calls on a connection that Node.js makes only through its streams, or not at all.

import koffi, { type KoffiFunc } from 'koffi'

const libc = koffi.load(null)

const sendBytes: KoffiFunc<(fd: number, bytes: Uint8Array, count: number, flags: number) => number> = libc.func(
  'int64 send(int, void *, size_t, int)',
)
const recvBytes: typeof sendBytes = libc.func('int64 recv(int, void *, size_t, int)')
const poll: KoffiFunc<(fds: Uint8Array, count: number, timeoutMs: number) => number> = libc.func(
  'int poll(void *, unsigned long, int)',
)

const MSG_PEEK = 0x2
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const EAGAIN = 11
const ECONNRESET = 104

/** What `sendText` gives when the peer has reset the connection: the kernel tells that once, and then an end. */
export const RESET = -1

/** Longest text that is sent at once. */
export const TEXT_BYTES_MAX = 65_536
/** What text is sent from: the garbage collector does not move it, and nothing of it is needed after the call. */
const textBytes = Buffer.from(new ArrayBuffer(TEXT_BYTES_MAX))
/** `struct pollfd`: the descriptor, what is asked for, what there is. */
const polled = Buffer.from(new ArrayBuffer(8))
const POLLIN = 1
polled.writeUInt16LE(POLLIN, 4)
const peeked = Buffer.from(new ArrayBuffer(1))

/**
 * Sends text, one byte a character, as far as the kernel takes it now.
 * @param text at most `TEXT_BYTES_MAX` characters
 * @returns how many were taken: 0 as well when the connection is broken, which the next write tells; or `RESET`
 */
export function sendText(fd: number, text: string): number {
  const count = textBytes.write(text, 'latin1')
  const sent = sendBytes(fd, textBytes, count, MSG_DONTWAIT | MSG_NOSIGNAL)
  if (sent !== -1) return sent
  return koffi.errno() === ECONNRESET ? RESET : 0
}

/** Whether nothing is there to be read from `fd`: no byte, no end and no error. */
export function isQuiet(fd: number): boolean {
  return recvBytes(fd, peeked, 1, MSG_PEEK | MSG_DONTWAIT) === -1 && koffi.errno() === EAGAIN
}

/** Whether something waits at `fd`: bytes, an end, or a connection to be accepted. */
export function isReadable(fd: number): boolean {
  polled.writeInt32LE(fd, 0)
  return poll(polled, 1, 0) === 1
}
