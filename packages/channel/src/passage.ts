// Where connections pass from process to process, each with some words about it: a pair of connected Unix sockets that keep messages
// apart. Whoever has one end gives, and of those that have the other, who takes a message first has it.

import {
  AF_UNIX,
  close,
  lastErrorCode,
  MessageHeader,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  pinned,
  recvmsg,
  sendmsg,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  socketpair,
  uninterrupted,
} from './libc.ts'

/** Most bytes of words about a connection. */
export const PASSAGE_BYTES_MAX = 32_768

/** Both ends; they are the caller's to close. */
export interface Passage {
  readonly giveFd: number
  readonly takeFd: number
}

/** A connection that was taken; it is the taker's. */
export interface PassedConnection {
  readonly fd: number
  /** A descriptor that came with it; -1 when none did. */
  readonly otherFd: number
  readonly words: string
}

const send = uninterrupted(sendmsg)
const receive = uninterrupted(recvmsg)
const header = new MessageHeader(PASSAGE_BYTES_MAX)
const ends = pinned(8)

/** @returns null when the system has none to give */
export function openPassage(): Passage | null {
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) === -1) return null
  return { giveFd: ends.readInt32LE(0), takeFd: ends.readInt32LE(4) }
}

/**
 * Gives the connection `fd`, whose descriptor stays the caller's to close. Nothing may read from it any more.
 * @param otherFd a descriptor that goes with it; -1 when none does
 * @returns null when it is given, else the system's name of the error: EAGAIN when too many wait to be taken
 */
export function passConnection(giveFd: number, fd: number, words: string, otherFd: number = -1): string | null {
  if (3 * words.length > PASSAGE_BYTES_MAX) return 'EMSGSIZE'
  header.setToSend(header.data.write(words), fd, otherFd)
  return send(giveFd, header.bytes, MSG_DONTWAIT | MSG_NOSIGNAL) === -1 ? lastErrorCode() : null
}

/** Takes a connection; null when none waits. What comes without one is passed over. */
export function takeConnection(takeFd: number): PassedConnection | null {
  for (;;) {
    header.setToReceive(PASSAGE_BYTES_MAX)
    const count = receive(takeFd, header.bytes, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)
    if (count <= 0) return null
    const [fd, otherFd = -1, ...others] = header.descriptors
    for (const other of others) close(other)
    if (fd !== undefined) return { fd, otherFd, words: header.data.toString('utf8', 0, count) }
  }
}
