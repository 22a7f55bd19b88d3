// What Node.js's streams are made of: handles of its own, which are not public. A connection on which the kernel takes all that is
// written needs no stream, which costs as much as the rest of a connection does. Where a later Node.js does not show them, all
// connections have streams.

import type { SocketConstructorOpts } from 'node:net'
import type { Known } from '../ends.ts'

/** Node.js's handle of a connection, before it has a stream. */
export interface Handle {
  /** -1 when it is closed. */
  readonly fd: number
  /** Called at each read, with this handle, when `lastRead` says what it has brought. @returns what to read into from now on */
  onread: (this: Handle) => Buffer | undefined
  /** Whose it is: what `onread` finds it by. */
  reader?: HandleReader
  open(fd: number): number
  useUserBuffer(bytes: Buffer): void
  /** @returns 0, or the number of an error */
  readStart(): number
  readStop(): void
  close(closed: () => void): void
  /** The following are absent on a Unix socket. @returns 0, or the number of an error */
  setNoDelay?(on: boolean): void
  setKeepAlive?(on: boolean, seconds: number): void
  getpeername?(end: Partial<SystemEnd>): number
  getsockname?(end: Partial<SystemEnd>): number
}

/** Hears what a handle reads. */
export interface HandleReader {
  /** @param count what was read, in bytes, or the negative number of an error. @returns what to read into from now on, if that changes */
  handleRead(count: number): Buffer | undefined
}

/** An address as a handle tells it. */
export interface SystemEnd {
  readonly address: string
  readonly port: number
}

/** The options of a stream that goes on with `handle`, which their types do not know. */
export function streamOf(handle: Handle, options: SocketConstructorOpts): SocketConstructorOpts {
  return { ...options, handle } as unknown as SocketConstructorOpts
}

/** What the system says of a connection, asked by its handle. */
export class KnownByHandle implements Known {
  readonly #handle: Handle
  readonly #peer: Partial<SystemEnd> = {}
  #own: Partial<SystemEnd> | null = null

  constructor(handle: Handle) {
    this.#handle = handle
    handle.getpeername?.(this.#peer)
  }

  get remoteAddress(): string | undefined {
    return this.#peer.address
  }

  get remotePort(): number | undefined {
    return this.#peer.port
  }

  get localAddress(): string | undefined {
    return this.#local.address
  }

  get localPort(): number | undefined {
    return this.#local.port
  }

  get #local(): Partial<SystemEnd> {
    if (this.#own === null) {
      this.#own = {}
      this.#handle.getsockname?.(this.#own)
    }
    return this.#own
  }
}

/** Makes handles. */
export type NewHandle = new (type: number) => Handle

/** The type of a handle that is a connection, of TCP and Unix sockets alike. */
export const CONNECTION = 0
/** The end of what a peer sends. */
export const END_OF_FILE = -4095

/** What Node.js shows of its handles. */
export interface Handles {
  readonly Tcp: NewHandle
  readonly Unix: NewHandle
  /** Of the read that is being told: bytes, or the negative number of an error. */
  lastRead(): number
}

/** What Node.js's own libraries are made with, as far as it is used here. */
const BINDINGS = process as unknown as {
  binding(name: 'tcp_wrap'): { readonly TCP: NewHandle }
  binding(name: 'pipe_wrap'): { readonly Pipe: NewHandle }
  binding(name: 'stream_wrap'): { readonly streamBaseState: Int32Array; readonly kReadBytesOrError: number }
}

/** null where Node.js does not show them. */
export const HANDLES: Handles | null = findHandles()

function findHandles(): Handles | null {
  try {
    const { TCP: Tcp } = BINDINGS.binding('tcp_wrap')
    const { Pipe: Unix } = BINDINGS.binding('pipe_wrap')
    const { streamBaseState: state, kReadBytesOrError: at } = BINDINGS.binding('stream_wrap')
    const methods = ['open', 'useUserBuffer', 'readStart', 'readStop', 'close'] as const
    const isWhole = [Tcp, Unix].every((type) => methods.every((name) => typeof type.prototype[name] === 'function'))
    return isWhole && state instanceof Int32Array && state[at] !== undefined
      ? { Tcp, Unix, lastRead: () => state[at] ?? 0 }
      : null
  } catch {
    return null
  }
}
