// Which services run on this host: the sockets in the plugin directories that accept connections. The path of a request
// does not rest on it (see docs/decisions/0002): it is what other hosts and the log are told.

import { type FSWatcher, watch } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import { NAMES_MAX } from './announcement.ts'
import { isServiceName } from '@xengate/channel/contract'

/** A socket in a plugin directory. */
export interface FoundService {
  readonly name: string
  readonly path: string
  /** Whether somebody accepts connections there. */
  readonly accepts: boolean
}

/** How services are looked for: see `LocalServices`. */
export type Look = 'surely' | 'quietly'

/** How often all is looked at, whether the file system tells of changes or not: a service may die and leave its socket. */
const LOOK_INTERVAL_MS: Readonly<Record<Look, number>> = { surely: 3000, quietly: 30_000 }
/** And how often where somebody waits to be told that one has died. */
export const WATCHED_INTERVAL_MS = 10_000
/** After a change, what follows it closely is waited for: a socket's file is there a little before it listens. */
const SETTLE_MS = 20
/** A new socket that refuses may be about to listen. */
const LOOK_AGAIN_MS = 100
const CONNECT_TIMEOUT_MS = 1000
const CONNECTS_MAX = 16

/** See the head of this file. */
export class LocalServices {
  readonly #directories: readonly string[]
  readonly #how: Look
  readonly #onChanged: (names: readonly string[]) => void
  readonly #watchers = new Map<string, FSWatcher>()
  readonly #interval: NodeJS.Timeout
  #settling: NodeJS.Timeout | undefined
  #looking: Promise<void> | null = null
  #isToLookAgain = false
  /** Names as told last. */
  #names: readonly string[] = []
  /** Sockets that refused at the last look. */
  #refused: ReadonlySet<string> = new Set()
  #isClosed = false

  /**
   * @param how `surely`: by connecting to each service, often; `quietly`: by what the system says of its sockets, which no service notices,
   *   and by connecting only to those of which it says nothing
   * @param onChanged told of all names, sorted, when they are others than before
   * @param intervalMs how often all is looked at, at most
   */
  constructor(
    directories: readonly string[],
    how: Look,
    onChanged: (names: readonly string[]) => void,
    intervalMs: number = Number.POSITIVE_INFINITY,
  ) {
    this.#directories = directories
    this.#onChanged = onChanged
    this.#how = how
    this.#interval = setInterval(() => this.look(), Math.min(LOOK_INTERVAL_MS[how], intervalMs)).unref()
    this.look()
  }

  close(): void {
    this.#isClosed = true
    clearInterval(this.#interval)
    clearTimeout(this.#settling)
    for (const watcher of this.#watchers.values()) watcher.close()
  }

  /** Looks now, or once more when it is looking already. */
  look(): void {
    if (this.#isClosed) return
    if (this.#looking !== null) {
      this.#isToLookAgain = true
      return
    }
    this.#looking = this.#look().finally(() => {
      this.#looking = null
      if (!this.#isToLookAgain) return
      this.#isToLookAgain = false
      this.look()
    })
  }

  #lookSoon(ms: number): void {
    if (this.#isClosed) return
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined
      this.look()
    }, ms).unref()
  }

  /** All sockets that are there now; of a name the one that requests go to, which is the first that accepts. */
  async all(): Promise<FoundService[]> {
    const sockets = await this.#sockets()
    const accepting = await this.#thatAccept(sockets)
    const found = new Map<string, FoundService>()
    for (const { name, path } of sockets) {
      const before = found.get(name)
      if (before === undefined || (!before.accepts && accepting.has(path)))
        found.set(name, { name, path, accepts: accepting.has(path) })
    }
    return [...found.values()]
  }

  async #look(): Promise<void> {
    const paths = await this.#sockets()
    const accepting = await this.#thatAccept(paths)
    const running = new Set(paths.filter(({ path }) => accepting.has(path)).map(({ name }) => name))
    if (this.#isClosed) return
    const refused = paths.filter(({ path, name }) => !running.has(name) && !this.#refused.has(path))
    this.#refused = new Set(paths.filter(({ name }) => !running.has(name)).map(({ path }) => path))
    if (refused.length > 0) this.#lookSoon(LOOK_AGAIN_MS)
    const names = [...running].toSorted()
    if (names.join('\n') === this.#names.join('\n')) return
    this.#names = names
    this.#onChanged(names)
  }

  async #sockets(): Promise<Place[]> {
    return (await Promise.all(this.#directories.map((directory) => this.#socketsIn(directory)))).flat()
  }

  async #socketsIn(directory: string): Promise<Place[]> {
    try {
      this.#watch(directory)
      const entries = await readdir(directory, { withFileTypes: true })
      const sockets = entries.filter(
        (entry) =>
          (entry.isSocket() || entry.isSymbolicLink()) && isServiceName(entry.name) && entry.name !== CONTROL_SERVICE,
      )
      return sockets.slice(0, NAMES_MAX).map(({ name }) => ({ name, path: join(directory, name) }))
    } catch {
      // The directory may come later.
      this.#unwatch(directory)
      return []
    }
  }

  #watch(directory: string): void {
    if (this.#watchers.has(directory) || this.#isClosed) return
    const watcher = watch(directory, { persistent: false }, () => this.#lookSoon(SETTLE_MS))
    this.#watchers.set(directory, watcher)
    watcher.on('error', () => this.#unwatch(directory))
  }

  #unwatch(directory: string): void {
    this.#watchers.get(directory)?.close()
    this.#watchers.delete(directory)
  }

  /** Paths of those that accept a connection, a few at a time; of a name one is enough. */
  async #thatAccept(places: readonly Place[]): Promise<Set<string>> {
    const listening = this.#how === 'quietly' ? await listeningPaths() : new Set<string>()
    const accepting = places.filter(({ path }) => listening.has(path))
    const running = new Set(accepting.map(({ name }) => name))
    const paths = new Set(accepting.map(({ path }) => path))
    const left = places.values()
    const work = async (): Promise<void> => {
      for (const { name, path } of left) {
        if (running.has(name) || !(await accepts(path))) continue
        running.add(name)
        paths.add(path)
      }
    }
    await Promise.all(Array.from({ length: CONNECTS_MAX }, work))
    return paths
  }
}

type Place = Omit<FoundService, 'accepts'>

/** Flag of a socket that listens, in the system's table. */
const LISTENS = 0x1_0000

/** Paths of the Unix sockets that somebody listens on, as they were bound; empty where the system does not tell. */
async function listeningPaths(): Promise<Set<string>> {
  const table = await readFile('/proc/self/net/unix', 'utf8').catch(() => '')
  const paths = new Set<string>()
  // Num RefCount Protocol Flags Type St Inode Path
  for (const line of table.split('\n')) {
    const [, flags = '', path = ''] = /^\S+ \S+ \S+ (\S+) \S+ \S+ +\S+ (\/.*)$/.exec(line) ?? []
    if (path !== '' && (Number.parseInt(flags, 16) & LISTENS) !== 0) paths.add(path)
  }
  return paths
}

/** Whether somebody accepts connections at `path`; a full queue is somebody's. */
function accepts(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({ path })
  const timer = setTimeout(() => done(false), CONNECT_TIMEOUT_MS)
  const done = (isAccepted: boolean): void => {
    clearTimeout(timer)
    socket.destroy()
    resolve(isAccepted)
  }
  socket.once('connect', () => done(true))
  socket.once('error', (error: NodeJS.ErrnoException) => done(error.code === 'EAGAIN'))
  return promise
}
