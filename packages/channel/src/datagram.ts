// Datagrams to a Unix socket: what service managers and syslog take, and Node.js does not send.

import {
  AF_UNIX,
  close,
  lastErrorCode,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  sendto,
  socket,
  UnixAddress,
} from './libc.ts'

/** Sends datagrams to one Unix socket, whoever is there at the time: its owner may come, go and come back. */
export class DatagramSender {
  readonly #address = new UnixAddress()
  readonly #addressBytes: number
  #fd = -1

  /** @param path of the socket; `@name` is an abstract one. @throws {RangeError} when it is too long */
  constructor(path: string) {
    this.#addressBytes = this.#address.set(path)
    if (this.#addressBytes === 0) throw new RangeError(`no Unix socket can have a path that long: ${path}`)
  }

  /**
   * Sends `bytes` as one datagram, without waiting.
   *
   * @returns null when it was taken, else the error of the system: EAGAIN (its reader is behind), ECONNREFUSED and ENOENT (there is
   *   none), EMSGSIZE, …
   */
  send(bytes: Buffer): string | null {
    if (this.#fd === -1) this.#fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if (this.#fd === -1) return lastErrorCode()
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL
    const sent = sendto(this.#fd, bytes, bytes.length, flags, this.#address.bytes, this.#addressBytes)
    return sent === -1 ? lastErrorCode() : null
  }

  close(): void {
    if (this.#fd !== -1) close(this.#fd)
    this.#fd = -1
  }
}
