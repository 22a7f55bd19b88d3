// The calls of libc that Node.js does not have, for 64-bit little-endian Linux, where their structures look alike.
// koffi calls them. Their arguments are laid out by hand in memory that is made once: `sendmsg` on no socket takes 0.8 µs with
// structs that koffi marshals, 0.2 µs with a pointer. A whole hand-over costs the gateway 8 µs, most of them the system's.

import util from 'node:util'
import koffi, { type KoffiFunc } from 'koffi'

const ARCHITECTURES: readonly string[] = ['x64', 'arm64', 'riscv64', 'loong64']

if (process.platform !== 'linux' || !ARCHITECTURES.includes(process.arch)) {
  throw new Error(
    `cannot pass connections on ${process.platform} ${process.arch}: it takes Linux on one of ${ARCHITECTURES.join(', ')}`,
  )
}

// The symbols that the process has anyway: this finds glibc and musl alike.
const libc = koffi.load(null)

export const socket: KoffiFunc<(domain: number, type: number, protocol: number) => number> =
  libc.func('int socket(int, int, int)')
export const socketpair: KoffiFunc<(domain: number, type: number, protocol: number, fds: Uint8Array) => number> =
  libc.func('int socketpair(int, int, int, void *)')
export const connect: KoffiFunc<(fd: number, address: Uint8Array, bytes: number) => number> = libc.func(
  'int connect(int, void *, unsigned int)',
)
export const bind: typeof connect = libc.func('int bind(int, void *, unsigned int)')
export const accept4: KoffiFunc<(fd: number, address: null, bytes: null, flags: number) => number> = libc.func(
  'int accept4(int, void *, void *, int)',
)
export const close: KoffiFunc<(fd: number) => number> = libc.func('int close(int)')
export const fcntl: KoffiFunc<(fd: number, command: number, ...argument: ['int', number]) => number> =
  libc.func('int fcntl(int, int, ...)')
export const sendmsg: KoffiFunc<(fd: number, message: Uint8Array, flags: number) => number> = libc.func(
  'int64 sendmsg(int, void *, int)',
)
export const sendto: KoffiFunc<
  (fd: number, data: Uint8Array, bytes: number, flags: number, address: Uint8Array, addressBytes: number) => number
> = libc.func('int64 sendto(int, void *, size_t, int, void *, unsigned int)')
export const recvmsg: KoffiFunc<(fd: number, message: Uint8Array, flags: number) => number> = libc.func(
  'int64 recvmsg(int, void *, int)',
)

export const setsockopt: KoffiFunc<
  (fd: number, level: number, option: number, value: Uint8Array, bytes: number) => number
> = libc.func('int setsockopt(int, int, int, void *, unsigned int)')
export const getsockopt: KoffiFunc<
  (fd: number, level: number, option: number, value: Uint8Array, bytes: Uint8Array) => number
> = libc.func('int getsockopt(int, int, int, void *, void *)')
export const ioctl: KoffiFunc<(fd: number, request: number, ...argument: ['void *', Uint8Array]) => number> = libc.func(
  'int ioctl(int, unsigned long, ...)',
)
export const getsockname: KoffiFunc<(fd: number, address: Uint8Array, bytes: Uint8Array) => number> = libc.func(
  'int getsockname(int, void *, void *)',
)
export const shutdown: KoffiFunc<(fd: number, how: number) => number> = libc.func('int shutdown(int, int)')

export const AF_UNSPEC = 0
export const SHUT_RDWR = 2
export const SO_SNDBUF = 7
export const SO_PEERCRED = 17
export const SIOCOUTQ = 0x5411
export const F_SETFD = 2
export const F_DUPFD_CLOEXEC = 1030
export const FD_CLOEXEC = 1
export const AF_UNIX = 1
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_SEQPACKET = 5
export const SOCK_NONBLOCK = 0x800
export const SOCK_CLOEXEC = 0x8_0000
export const MSG_PEEK = 0x2
export const MSG_CTRUNC = 0x8
export const MSG_DONTWAIT = 0x40
export const MSG_NOSIGNAL = 0x4000
export const MSG_CMSG_CLOEXEC = 0x4000_0000

export const SOL_SOCKET = 1
const SCM_RIGHTS = 1
const EINTR = 4

/** `call` until no signal interrupts it. */
export function uninterrupted(call: (fd: number, message: Uint8Array, flags: number) => number): typeof call {
  return (fd, message, flags) => {
    for (;;) {
      const result = call(fd, message, flags)
      if (result !== -1 || koffi.errno() !== EINTR) return result
    }
  }
}

/** Name of the error of the last call, such as `ENOENT`. */
export function lastErrorCode(): string {
  return util.getSystemErrorName(-koffi.errno())
}

// struct msghdr, struct iovec and the control messages, one behind the other; offsets in bytes.
const NAME_POINTER = 0
const NAME_BYTES = 8
const IOV_POINTER = 16
const IOV_COUNT = 24
const CONTROL_POINTER = 32
const CONTROL_BYTES = 40
const FLAGS = 48
const IOVEC = 56
const IOVEC_BYTES = IOVEC + 8
const CONTROL = IOVEC + 16
/** A control message's length, level and type. */
const CONTROL_HEAD_BYTES = 16
const FD_BYTES = 4

/**
 * Most descriptors that are received with one call, some more than anybody has a reason to send: what there is no room for the
 * system closes, and says MSG_CTRUNC.
 */
export const DESCRIPTORS_MAX = 4

const CONTROL_BYTES_MAX = CONTROL_HEAD_BYTES + DESCRIPTORS_MAX * FD_BYTES

/** A `struct msghdr` with one buffer and room for descriptors, at an address that stays. */
export class MessageHeader {
  /** What `sendmsg` and `recvmsg` are given. */
  readonly bytes: Buffer
  /** The buffer to send from, or to receive into. */
  readonly data: Buffer
  readonly #dataAddress: number

  /** @param dataBytes size of its buffer */
  constructor(dataBytes: number) {
    this.bytes = pinned(CONTROL + CONTROL_BYTES_MAX)
    this.data = pinned(dataBytes)
    this.#dataAddress = addressOf(this.data)
    const address = addressOf(this.bytes)
    writeWord(this.bytes, IOV_POINTER, address + IOVEC)
    writeWord(this.bytes, IOV_COUNT, 1)
    writeWord(this.bytes, CONTROL_POINTER, address + CONTROL)
  }

  /** To send `bytes` bytes of its buffer with the descriptor `fd`, and another one unless it is -1. */
  setToSend(bytes: number, fd: number, otherFd: number = -1): void {
    this.#point(this.#dataAddress, bytes)
    this.#attach(fd, otherFd)
  }

  /** To send `data` with the descriptor `fd`; `data` may not move, so it must not be a small typed array. */
  setToSendFrom(data: Buffer, fd: number): void {
    this.#point(addressOf(data), data.length)
    this.#attach(fd, -1)
  }

  /** To send to the Unix socket at `address`, which takes `bytes` bytes. */
  setTo({ bytes: address }: UnixAddress, bytes: number): void {
    writeWord(this.bytes, NAME_POINTER, addressOf(address))
    this.bytes.writeUInt32LE(bytes, NAME_BYTES)
  }

  /** To receive up to `bytes` bytes into its buffer. */
  setToReceive(bytes: number): void {
    this.#point(this.#dataAddress, bytes)
    writeWord(this.bytes, CONTROL_BYTES, CONTROL_BYTES_MAX)
  }

  /** To look at the next byte, and at no descriptor: each look at one would make another of it. */
  setToPeek(): void {
    this.#point(this.#dataAddress, 1)
    writeWord(this.bytes, CONTROL_BYTES, 0)
  }

  #point(address: number, bytes: number): void {
    writeWord(this.bytes, IOVEC, address)
    writeWord(this.bytes, IOVEC_BYTES, bytes)
  }

  #attach(fd: number, otherFd: number): void {
    const { bytes } = this
    writeWord(bytes, CONTROL_BYTES, CONTROL_HEAD_BYTES + 2 * FD_BYTES) // with padding
    writeWord(bytes, CONTROL, CONTROL_HEAD_BYTES + (otherFd === -1 ? 1 : 2) * FD_BYTES)
    bytes.writeInt32LE(SOL_SOCKET, CONTROL + 8)
    bytes.writeInt32LE(SCM_RIGHTS, CONTROL + 12)
    bytes.writeInt32LE(fd, CONTROL + CONTROL_HEAD_BYTES)
    bytes.writeInt32LE(otherFd, CONTROL + CONTROL_HEAD_BYTES + FD_BYTES)
  }

  /** Whether the last message came with more than there was room, or free descriptors, for. */
  get isControlTruncated(): boolean {
    return (this.bytes.readInt32LE(FLAGS) & MSG_CTRUNC) !== 0
  }

  /** The descriptors that came with the last message; they are the caller's to close. */
  get descriptors(): number[] {
    const { bytes } = this
    // The system has written how much it used; only SCM_RIGHTS was asked for.
    if (bytes.readUInt32LE(CONTROL_BYTES) < CONTROL_HEAD_BYTES) return []
    if (bytes.readInt32LE(CONTROL + 8) !== SOL_SOCKET || bytes.readInt32LE(CONTROL + 12) !== SCM_RIGHTS) return []
    const count = Math.floor((bytes.readUInt32LE(CONTROL) - CONTROL_HEAD_BYTES) / FD_BYTES)
    return Array.from({ length: count }, (_, index) =>
      bytes.readInt32LE(CONTROL + CONTROL_HEAD_BYTES + index * FD_BYTES),
    )
  }
}

/** Longest path in `sockaddr_un`, in bytes. */
const PATH_BYTES_MAX = 107
const FAMILY_BYTES = 2

/** A `struct sockaddr_un`, to be used again for other paths. */
export class UnixAddress {
  /** What `connect` and `bind` are given. */
  readonly bytes: Buffer = pinned(FAMILY_BYTES + PATH_BYTES_MAX + 1)

  constructor() {
    this.bytes.writeUInt16LE(AF_UNIX, 0)
  }

  /** Sets the path, or with `@name` an abstract name (unix(7)); returns the address's size in bytes, 0 when it is too long. */
  set(path: string): number {
    const pathBytes = Buffer.byteLength(path)
    if (pathBytes > PATH_BYTES_MAX) return 0
    this.bytes.write(path, FAMILY_BYTES)
    this.bytes[FAMILY_BYTES + pathBytes] = 0
    if (!path.startsWith('@')) return FAMILY_BYTES + pathBytes + 1
    this.bytes[FAMILY_BYTES] = 0
    return FAMILY_BYTES + pathBytes
  }
}

/** Memory that the garbage collector does not move: an ArrayBuffer's, as long as it is referenced. */
export function pinned(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(bytes))
}

function addressOf(memory: Buffer): number {
  return Number(koffi.address(memory))
}

const WORD_HALF = 2 ** 32

/** Writes a 64-bit number below 2^53, as pointers of user space are. */
function writeWord(memory: Buffer, at: number, value: number): void {
  memory.writeUInt32LE(value % WORD_HALF, at)
  memory.writeUInt32LE(Math.floor(value / WORD_HALF), at + 4)
}
