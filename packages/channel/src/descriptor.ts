// Small things that Node.js does not do with a descriptor by its number.

import type { Socket } from 'node:net'
import {
  AF_UNIX,
  AF_UNSPEC,
  close,
  connect,
  F_DUPFD_CLOEXEC,
  F_SETFD,
  fcntl,
  getsockname,
  getsockopt,
  ioctl,
  FD_CLOEXEC,
  pinned,
  setsockopt,
  SHUT_RDWR,
  SIOCOUTQ,
  shutdown,
  SO_PEERCRED,
  SO_SNDBUF,
  SOL_SOCKET,
} from './libc.ts'

/** Closes a descriptor that was received and is not wanted, or was bound and is not used. */
export function closeDescriptor(fd: number): void {
  close(fd)
}

/** `struct ucred`: process, user, group; and how many bytes it has. */
const CREDENTIALS = pinned(12)
const CREDENTIALS_BYTES = pinned(4)

/** The id of the user whose process connected the Unix socket `fd`, by its effective id then (unix(7)); -1 when nobody can tell. */
export function peerUser(fd: number): number {
  CREDENTIALS_BYTES.writeUInt32LE(CREDENTIALS.length)
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, CREDENTIALS, CREDENTIALS_BYTES) !== 0) return -1
  return CREDENTIALS.readUInt32LE(4)
}

/** Keeps `fd` from programs that this process starts. */
export function setCloseOnExec(fd: number): void {
  fcntl(fd, F_SETFD, 'int', FD_CLOEXEC)
}

/** Another descriptor of the same, for this process alone; -1 when there is none left. */
export function duplicateDescriptor(fd: number): number {
  return fcntl(fd, F_DUPFD_CLOEXEC, 'int', 0)
}

/** `struct sockaddr` of no family. */
const NO_ADDRESS = pinned(16)
NO_ADDRESS.writeUInt16LE(AF_UNSPEC, 0)

/**
 * Ends the connection `fd` in both directions, now, for every process that has it: by a reset over TCP, so that no half of a
 * response looks complete, by a shutdown where there is none.
 */
export function cutConnection(fd: number): void {
  // On Linux a connected TCP socket that is connected to no address is reset; a Unix socket does not know that call.
  if (connect(fd, NO_ADDRESS, NO_ADDRESS.length) === -1) shutdown(fd, SHUT_RDWR)
}

/**
 * Ends the connection `fd` in both directions, for every process that has it, once what was written is sent: afterwards nobody can
 * write to it.
 */
export function endConnection(fd: number): void {
  shutdown(fd, SHUT_RDWR)
}

const OPTION_BYTES = 4
const option = pinned(OPTION_BYTES)

/**
 * Lets `bytes` bytes, and as much for the system's own, wait in the socket `fd` to be read on the other side; at most
 * net.core.wmem_max. A socket's default is half of that.
 */
export function setSendBuffer(fd: number, bytes: number): void {
  option.writeInt32LE(bytes, 0)
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, option, OPTION_BYTES)
}

const count = pinned(OPTION_BYTES)

/** How many bytes wait in the socket `fd`: of TCP those that are not acknowledged, of a Unix socket those that are not read. */
export function unsentBytes(fd: number): number {
  return fd === -1 || ioctl(fd, SIOCOUTQ, 'void *', count) === -1 ? 0 : count.readInt32LE(0)
}

/** `struct sockaddr_un`, and its size. */
const SOCKADDR_BYTES = 110
const PATH_AT = 2
const name = pinned(SOCKADDR_BYTES)
const nameBytes = pinned(4)

/** The path that the Unix socket `fd` is bound to; undefined when it is none, or has none. */
export function boundPath(fd: number): string | undefined {
  nameBytes.writeUInt32LE(SOCKADDR_BYTES, 0)
  if (getsockname(fd, name, nameBytes) === -1 || name.readUInt16LE(0) !== AF_UNIX) return undefined
  const path = name.toString('utf8', PATH_AT, Math.min(nameBytes.readUInt32LE(0), SOCKADDR_BYTES)).split('\0')[0]
  return path === '' ? undefined : path
}

/** The descriptor of a socket, -1 when it has none any more. Node.js has no public way to ask for it. */
export function descriptorOf(socket: Socket): number {
  const { _handle } = socket as unknown as { readonly _handle: { readonly fd: number } | null }
  return _handle?.fd ?? -1
}
