// The system's calls, and libuv's, that the ring is made of. An address is a number, which keeps nothing alive: see memory.ts.

import koffi, { type KoffiFunc } from 'koffi'

// The symbols that the process has anyway: those of the C library, and those of Node.js's own libuv.
const symbols = koffi.load(null)

export const mmap: KoffiFunc<
  (address: number, bytes: number, protection: number, flags: number, fd: number, offset: number) => number
> = symbols.func('int64 mmap(int64, size_t, int, int, int, int64)')
export const munmap: KoffiFunc<(address: number, bytes: number) => number> = symbols.func('int munmap(int64, size_t)')
/** io_uring has no functions in the C library, but numbers, which are the same on every architecture. */
export const systemCall: KoffiFunc<
  (call: number, a: number, b: number, c: number, d: number, e: number, f: number) => number
> = symbols.func('int64 syscall(int64, int64, int64, int64, int64, int64, int64)')
export const send: KoffiFunc<(fd: number, address: number, bytes: number, flags: number) => number> = symbols.func(
  'int64 send(int, int64, size_t, int)',
)
export const shutdown: KoffiFunc<(fd: number, how: number) => number> = symbols.func('int shutdown(int, int)')
export const listen: KoffiFunc<(fd: number, backlog: number) => number> = symbols.func('int listen(int, int)')
export const duplicate: KoffiFunc<(fd: number, command: number, from: number) => number> =
  symbols.func('int fcntl(int, int, int)')
export const socketPair: KoffiFunc<(domain: number, type: number, protocol: number, pair: Uint8Array) => number> =
  symbols.func('int socketpair(int, int, int, void *)')
export const setsockopt: KoffiFunc<
  (fd: number, level: number, option: number, value: Uint8Array, bytes: number) => number
> = symbols.func('int setsockopt(int, int, int, void *, unsigned int)')
export const getpeername: KoffiFunc<(fd: number, address: Uint8Array, bytes: Uint8Array) => number> = symbols.func(
  'int getpeername(int, void *, void *)',
)
export const getsockname: typeof getpeername = symbols.func('int getsockname(int, void *, void *)')
export const addressText: KoffiFunc<(family: number, address: Uint8Array, text: Uint8Array, bytes: number) => number> =
  symbols.func('int64 inet_ntop(int, void *, void *, unsigned int)')
/** @returns 0 when there is no such interface */
export const interfaceName: KoffiFunc<(index: number, name: Uint8Array) => number> = symbols.func(
  'int64 if_indextoname(unsigned int, void *)',
)

const symbolNamed: KoffiFunc<(library: number, name: string) => number> = symbols.func('int64 dlsym(int64, str)')

/** What is used of libuv's loop, which Node.js's main thread runs. */
export interface Uv {
  readonly loop: number
  readonly backendFd: KoffiFunc<(loop: number) => number>
  /** -1: nothing is waited for by time; 0: there is something to do. */
  readonly backendTimeout: KoffiFunc<(loop: number) => number>
  readonly updateTime: KoffiFunc<(loop: number) => void>
  readonly idleBytes: number
  readonly idleInit: KoffiFunc<(loop: number, idle: number) => number>
  readonly idleStart: KoffiFunc<(idle: number, callback: number) => number>
  readonly idleStop: KoffiFunc<(idle: number) => number>
  /** A function that takes a handle and does nothing. */
  readonly nothing: number
}

const UV_IDLE = 6

/** @returns null where the process does not show its libuv */
export function findUv(): Uv | null {
  try {
    const handleSize: KoffiFunc<(type: number) => number> = symbols.func('size_t uv_handle_size(int)')
    const defaultLoop: KoffiFunc<() => number> = symbols.func('int64 uv_default_loop()')
    return {
      loop: defaultLoop(),
      backendFd: symbols.func('int uv_backend_fd(int64)'),
      backendTimeout: symbols.func('int uv_backend_timeout(int64)'),
      updateTime: symbols.func('void uv_update_time(int64)'),
      idleBytes: handleSize(UV_IDLE),
      idleInit: symbols.func('int uv_idle_init(int64, int64)'),
      idleStart: symbols.func('int uv_idle_start(int64, int64)'),
      idleStop: symbols.func('int uv_idle_stop(int64)'),
      nothing: symbolNamed(0, 'uv_is_active'),
    }
  } catch {
    return null
  }
}

/** The number of the last call's error. */
export const errorNumber = (): number => koffi.errno()

export const F_DUPFD_CLOEXEC = 1030
export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10
export const SOCK_STREAM = 1
export const SOCK_NONBLOCK = 0x800
export const SOCK_CLOEXEC = 0x8_0000
export const SHUT_WR = 1
export const SHUT_RDWR = 2
export const SOL_SOCKET = 1
export const SO_KEEPALIVE = 9
export const IPPROTO_TCP = 6
export const TCP_NODELAY = 1
export const TCP_KEEPIDLE = 4
export const TCP_KEEPINTVL = 5
export const TCP_KEEPCNT = 6
export const MSG_DONTWAIT = 0x40
export const MSG_NOSIGNAL = 0x4000

export const EPERM = 1
export const EINTR = 4
export const EAGAIN = 11
export const ECONNRESET = 104
export const EINVAL = 22
export const ENOSYS = 38
export const ENOBUFS = 105
export const ECANCELED = 125
