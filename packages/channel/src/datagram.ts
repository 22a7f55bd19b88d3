// Datagrams to a Unix socket: what service managers and syslog take, and Node.js does not send.

import {
  AF_UNIX,
  close,
  lastErrorCode,
  MessageHeader,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  sendmsg,
  sendto,
  socket,
  UnixAddress,
} from './libc.ts'

/** Most bytes that are sent with a descriptor. */
const WITH_BYTES_MAX = 1024

/** Sends datagrams to one Unix socket, whoever is there at the time: its owner may come, go and come back. */
export class DatagramSender {
  readonly #address = new UnixAddress()
  readonly #addressBytes: number
  #fd = -1
  /** Of what is sent with a descriptor. */
  #header: MessageHeader | null = null

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
    if (!this.#open()) return lastErrorCode()
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL
    const sent = sendto(this.#fd, bytes, bytes.length, flags, this.#address.bytes, this.#addressBytes)
    return sent === -1 ? lastErrorCode() : null
  }

  /** The same with the descriptor `fd`, which stays the caller's; at most 1,024 bytes. */
  sendWith(bytes: Buffer, fd: number): string | null {
    if (!this.#open()) return lastErrorCode()
    this.#header ??= new MessageHeader(WITH_BYTES_MAX)
    this.#header.setTo(this.#address, this.#addressBytes)
    this.#header.setToSend(bytes.copy(this.#header.data), fd)
    return sendmsg(this.#fd, this.#header.bytes, MSG_DONTWAIT | MSG_NOSIGNAL) === -1 ? lastErrorCode() : null
  }

  #open(): boolean {
    if (this.#fd === -1) this.#fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    return this.#fd !== -1
  }

  close(): void {
    if (this.#fd !== -1) close(this.#fd)
    this.#fd = -1
  }
}
