// The process that takes this one's place: the program as it is on disk now, with the same arguments, started beside this one, with its
// listening sockets.
//
//   from       to         by
//   STARTING   SERVING    it says so
//   STARTING   FAILED     it says so, ends, or takes too long, or this process stops: then it is ended
//
// While it is SERVING, sessions that end on either side end on both.

import { type ChildProcess, spawn } from 'node:child_process'
import { resolve as resolvePath } from 'node:path'
import { Link, type LinkListener } from './link.ts'
import type { Takes } from './messages.ts'
import { UPGRADE } from './predecessor.ts'
import type { HeldSocket } from './sockets.ts'

/** How long it may take to serve. */
const START_MS = 60_000
/** Descriptors 0 to 2 are the usual ones and 3 is the channel; those that are given follow. */
const FIRST_GIVEN_FD = 4

/** What a successor is given. */
export interface SuccessorOptions {
  readonly sockets: readonly HeldSocket[]
  readonly returnKey: string
  readonly ownHost: string | null
  /** Variables of its environment beside those of this process. */
  readonly env: Readonly<Record<string, string>>
  readonly listener: Omit<LinkListener, 'said'>
  /** Aborts when this process stops: then nobody takes its place. */
  readonly stopping: AbortSignal
  /** Called when sessions that end are its concern. */
  readonly joined: () => void
}

/** What became of it. */
export type Start =
  /** `takes`: which connections it takes. */
  | { readonly kind: 'serving'; readonly pid: number; readonly version: string; readonly takes: Takes }
  | { readonly kind: 'failed'; readonly problem: string }

/** See the head of this file. */
export class Successor {
  readonly link: Link
  readonly #child: ChildProcess
  readonly #started = Promise.withResolvers<Start>()

  constructor({ sockets, returnKey, ownHost, env, listener, stopping, joined }: SuccessorOptions) {
    this.#child = spawn(program(), [...process.execArgv, ...process.argv.slice(1)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...sockets.map(({ fd }) => fd)],
      env: { ...process.env, ...env, [UPGRADE]: '1' },
    })
    const { pid = 0 } = this.#child
    this.link = new Link(this.#child, pid, {
      ...listener,
      said: (message) => {
        if (message.type === 'joined') joined()
        else if (message.type === 'serving') {
          const { version, takes: listeners, takesUnderWay = false } = message
          this.#started.resolve({ kind: 'serving', pid, version, takes: { listeners, takesUnderWay } })
        } else if (message.type === 'failed') this.#failed(message.problem)
      },
    })
    const stopped = (): void => this.#failed('the daemon is stopping')
    if (stopping.aborted) stopped()
    else stopping.addEventListener('abort', stopped)
    this.#child.once('error', (error) => this.#failed(`it cannot be started: ${error.message}`))
    this.#child.once('exit', (code, signal) =>
      this.#failed(`it ended before it served (${signal ?? `exit code ${code}`})`),
    )
    const given = sockets.map((socket, index) => ({ ...socket, fd: FIRST_GIVEN_FD + index }))
    this.link.tell({ type: 'inherit', sockets: given, returnKey, ownHost })
  }

  #failed(problem: string): void {
    this.#started.resolve({ kind: 'failed', problem })
  }

  /** Resolves when it serves, or is gone. */
  async start(): Promise<Start> {
    const timer = setTimeout(() => this.#failed(`it did not serve within ${START_MS / 1000} s`), START_MS)
    const start = await this.#started.promise
    clearTimeout(timer)
    if (start.kind === 'failed') this.#child.kill('SIGKILL')
    // It outlives this process.
    this.#child.unref()
    this.#child.channel?.unref()
    return start
  }
}

/** The executable by the name that it was started by, which may be a link that leads to another one now. */
function program(): string {
  return process.argv0.includes('/') ? resolvePath(process.argv0) : process.execPath
}
