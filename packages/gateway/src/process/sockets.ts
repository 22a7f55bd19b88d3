// The listening sockets that this process has, by where they are: those that it bound, and those that it was given, by the service manager
// or by the process whose place it takes. Whoever wants to listen somewhere looks here first, and at an upgrade all are handed on.

import { existsSync, unlinkSync } from 'node:fs'
import { boundPath, closeDescriptor } from '@xengate/channel'
import { openHandle } from './server-handle.ts'

/** A listening socket. */
export interface HeldSocket {
  /** Path of a Unix socket, or host and port with a blank between, as whoever listens there names them. */
  readonly key: string
  readonly fd: number
  /** Whether it is the service manager's, who has made its file, and listens on when nobody else does. */
  readonly isManagers: boolean
}

/** Keys of the passage's ends (`@xengate/channel`), which are bound nowhere. */
export const PASSAGE_GIVE = 'passage give'
export const PASSAGE_TAKE = 'passage take'

/** The first descriptor that a service manager gives (sd_listen_fds(3)). */
const FIRST_MANAGERS_FD = 3

/**
 * Names of the sockets that the service manager keeps for the daemon, in case that it dies, begin so: what it gives back by such a name is the
 * daemon's own.
 */
const KEPT = 'xengate='
/** What a name may not hold, and how long it may be (sd_notify(3)). */
const NAME_CHARACTERS_MAX = 255

/** By which name the service manager keeps the socket at `key`. */
export function keptName(key: string): string {
  return (KEPT + key.replaceAll(':', '.')).slice(0, NAME_CHARACTERS_MAX)
}

/** See the head of this file. */
class Sockets {
  readonly #given = new Map<string, HeldSocket>()
  readonly #held = new Map<string, HeldSocket>()
  #areHandedOver = false
  /** Where the process listens whose place this one takes, until this one serves: if it does not, that one goes on. */
  #borrowed: ReadonlySet<string> = new Set()
  /** What is done when this one serves. */
  #later: (() => void)[] = []
  /** Names of those that the service manager had kept. */
  #kept: readonly string[] = []

  /** Whether another process serves at `key` with the same socket: then its file is that one's own, and stays. */
  isOthers(key: string): boolean {
    return this.#areHandedOver || this.#borrowed.has(key)
  }

  /** All of them, to be handed on. */
  get all(): readonly HeldSocket[] {
    return [...this.#held.values(), ...this.#given.values()]
  }

  /** Another process has them as well. */
  handedOver(): void {
    this.#areHandedOver = true
  }

  /** Takes what this process was given. */
  give(sockets: readonly HeldSocket[]): void {
    for (const socket of sockets) this.#given.set(socket.key, socket)
  }

  /** Takes what the process has whose place this one takes, and which has it as well until this one serves. */
  borrow(sockets: readonly HeldSocket[]): void {
    for (const socket of sockets) {
      if (socket.isManagers || isReached(socket.key)) this.give([socket])
      else closeDescriptor(socket.fd)
    }
    this.#borrowed = new Set(this.#given.keys())
  }

  /**
   * Does `act`, by which this process begins to take what comes at `key`. Where the process listens whose place this one takes, which can answer
   * as this one cannot yet, that is when this one serves.
   * @returns whether it was done
   */
  takeOver(key: string, act: () => void): boolean {
    const isLater = this.#borrowed.has(key)
    if (isLater) this.#later.push(act)
    else act()
    return !isLater
  }

  /** Names by which the service manager keeps sockets already. */
  get kept(): readonly string[] {
    return this.#kept
  }

  /**
   * Takes those that the service manager has opened, or kept when the daemon died. Their names are taken out of `env`: they are meant for this
   * process alone.
   */
  giveFromManager(env: NodeJS.ProcessEnv): void {
    const { LISTEN_FDS: count, LISTEN_PID: pid, LISTEN_FDNAMES: list = '' } = env
    for (const name of ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES']) delete env[name]
    if (Number(pid) !== process.pid) return
    const names = list.split(':')
    this.#kept = names.filter((name) => name.startsWith(KEPT))
    for (let fd = FIRST_MANAGERS_FD; fd < FIRST_MANAGERS_FD + Number(count ?? 0); fd++) {
      const name = names[fd - FIRST_MANAGERS_FD] ?? ''
      const key = [PASSAGE_GIVE, PASSAGE_TAKE].find((one) => keptName(one) === name) ?? boundKey(fd)
      const isManagers = !name.startsWith(KEPT)
      const isUsable = key !== undefined && (isManagers || isReached(key))
      if (isUsable) this.give([{ key, fd, isManagers }])
      else closeDescriptor(fd)
    }
  }

  isGiven(key: string): boolean {
    return this.#given.has(key)
  }

  /** The one at `key` that this process was given and nobody uses yet; it is the caller's. */
  take(...keys: readonly string[]): HeldSocket | undefined {
    const key = keys.find((one) => this.#given.has(one))
    const socket = key === undefined ? undefined : this.#given.get(key)
    this.#given.delete(key ?? '')
    return socket
  }

  /** Somebody listens on it now. */
  hold(socket: HeldSocket): void {
    this.#held.set(socket.key, socket)
  }

  /** Nobody does any more. */
  closed(socket: HeldSocket): void {
    if (this.#held.get(socket.key)?.fd === socket.fd) this.#held.delete(socket.key)
  }

  /** Keeps the service manager's for another time. @returns whether it is such a one; others are to be closed */
  keep(socket: HeldSocket): boolean {
    if (!socket.isManagers || this.#areHandedOver) return false
    this.#given.set(socket.key, socket)
    return true
  }

  /** This process serves. Closes what it was given and nobody wants, but for the service manager's. */
  closeUnused(): void {
    this.#borrowed = new Set()
    for (const act of this.#later.splice(0)) act()
    for (const { key, fd, isManagers } of this.#given.values()) {
      if (isManagers) continue
      this.#given.delete(key)
      closeDescriptor(fd)
      if (key.startsWith('/')) unlinkSync(key)
    }
  }
}

/** Those of this process. */
export const sockets: Sockets = new Sockets()

/** A Unix socket whose file is gone is reached by nobody. */
function isReached(key: string): boolean {
  return !key.startsWith('/') || existsSync(key)
}

/** Where a socket is bound; undefined when it is none that can be listened on. */
function boundKey(fd: number): string | undefined {
  const path = boundPath(fd)
  if (path !== undefined) return path
  const name: { address?: string; port?: number } = {}
  try {
    openHandle(fd).getsockname?.(name)
  } catch {
    return undefined
  }
  return name.address === undefined ? undefined : `${name.address} ${name.port ?? 0}`
}
