// What the data plane needs of the system: connections that bytes come from and go to. The rest of it knows no socket.

/** The system's names of errors by which this process, or the system, may open nothing more. */
export const NO_DESCRIPTORS: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE'])

/** One end of a connection. */
export interface End {
  readonly address: string
  readonly port: number
}

/** Both ends of a connection: who made it, and where it arrived. */
export interface Ends {
  readonly source: End
  readonly destination: End
}

/** Hears what happens on a wire. */
export interface WireListener {
  /**
   * The peer has sent the bytes from `from` to `to`, which are borrowed until this returns.
   * @returns whether more of the same is to come: then it is read in big pieces
   */
  bytes(bytes: Buffer, from: number, to: number): boolean
  /** The peer will send no more. */
  ended(): void
  /** The wire was full, and all that was written has gone out: write on. */
  drained(): void
  /** The wire is gone, by whatever ended it. Nothing is told after this. */
  closed(): void
}

/** A connection, of TCP, of a Unix socket or of TLS. Whoever holds it owns it, and ends it. */
export interface Wire {
  /** Hears what happens from now on; to be set in the turn in which the wire is made. */
  listener: WireListener
  /** Who made it, as the system has it; null of a Unix socket. */
  readonly source: End | null
  /** Both ends; asking takes a system call more. */
  readonly ends: Ends | null
  /** Descriptor of the connection; -1 when it is closed, or when what it carries is not what is written here: TLS. */
  readonly fd: number

  /** Adds text to what `flush` writes, one byte a character. */
  text(text: string): void
  /** Adds the bytes from `from` to `to`, which are borrowed: what cannot be written at once is copied, unless it is of a block. */
  data(bytes: Buffer, from: number, to: number): void
  /** Writes what was added. */
  flush(): void
  /** Whether nothing more should be read that would be written here: `drained` follows. */
  readonly isFull: boolean
  /** Whether some of what was written waits for the peer, as far as is known in this turn. */
  readonly isPending: boolean
  /** Whether some of it may not be in the kernel yet: what was written in this turn as well. */
  readonly hasUnsent: boolean
  /** Bytes written that the peer has not taken, what waits in the kernel included; asking takes a system call. */
  readonly pendingBytes: number
  /** How much the peer has taken in all, in bytes. */
  readonly takenBytes: number
  /** Whether the peer has taken something since this was asked last. */
  hasMoved(): boolean

  /** Reads no more, until `resume`. What was read by then may still be told, once it is resumed. */
  pause(): void
  resume(): void
  /**
   * Stops reading at once, and sends what was written, so that the descriptor can be given away with all that is not read. @returns
   * whether that can be done now; `resume` takes it back
   */
  stop(): boolean
  /**
   * Whether nothing has come, and the peer has not ended: looks now, and not at what the last turn of the event loop knew. Then
   * `expectNothing` holds.
   */
  isQuiet(): boolean
  /** What comes before the next write goes out ends the wire, and that is not sent: it is looked at when it goes out. */
  expectNothing(): void

  /** Ends this side, once what was written has gone out. @param sent called then */
  end(sent?: () => void): void
  /**
   * Ends both sides, once what was written has gone out; what comes is dropped, and nothing is told but `closed`.
   * @param idleMs how long the peer may take nothing before the rest is given up
   */
  finish(idleMs: number): void
  /** Ends both sides now. What was written in this turn still goes out as far as the kernel takes it. */
  destroy(): void
  /** The same by a reset, where there is one: an orderly end could make what was sent look complete. */
  reset(): void

  /** Has a quiet peer probed by TCP every `ms` milliseconds; nothing on a Unix socket. */
  keepAlive(ms: number): void
  /** Makes room for many bytes on their way to a Unix socket; TCP makes room by itself. */
  expectBulk(): void
}

/** Where connections are accepted. */
export type ListenAt =
  | { readonly host: string; readonly port: number }
  | { readonly path: string }
  /** A listening socket, which somebody has bound. */
  | { readonly fd: number }

/** A listening socket. */
export interface Listening {
  /** Of TCP. 0 for a Unix socket. */
  readonly port: number
  /**
   * Accepts nothing, until `resume`: what comes waits in the kernel, or is whoever's else listens. To be said again while it has to hold:
   * there may be no descriptor for it. A path that this process has bound cannot be paused with net.
   */
  pause(): void
  resume(): void
  /** Accepts no more. What the kernel holds is left to whoever else listens. */
  close(): void
  /** The same, but takes what the kernel holds first: nobody else may. */
  finish(): void
}

/** Hears what a listening socket brings. */
export interface ListeningListener {
  /** A connection, which is the listener's. Its listener is set before this returns. */
  accepted(wire: Wire): void
  /** A connection could not be accepted. @param code the system's name of the error: EMFILE, … */
  failed(code: string): void
}

/** A way to have wires: by `node:net`, or by io_uring. */
export interface Transport {
  readonly name: 'net' | 'ring'
  /** Accepts connections. Rejects with the system's error when that cannot be. */
  listen(at: ListenAt, listener: ListeningListener): Promise<Listening>
  /** A wire of a connected descriptor, whose owner it is. @param isUnix whether it is a Unix socket */
  adopt(fd: number, isUnix: boolean): Wire
}

/** Of a wire that nobody listens to yet: what it tells is lost. */
export const NOBODY: WireListener = Object.freeze({
  bytes: () => false,
  ended: () => {},
  drained: () => {},
  closed: () => {},
})
