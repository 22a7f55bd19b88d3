// One worker process, as the primary has it.
//
//   from       to         by
//   STARTING   READY      isReady is set: it has said that it serves
//   any        GONE       it exits, is killed, or could not be started: `exited` is called, once

import { type ChildProcess, fork } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { closeDescriptor, passConnection, type Passage } from '@xengate/channel'
import type { OverloadState } from '../model/overload.ts'
import { build } from '../version.ts'
import type { Account } from './account.ts'
import type { ToPrimary, ToWorker, TransportSaid } from './messages.ts'
import { Answers, type Question, type Told } from './control/questions.ts'
import { WITHOUT_DEBUGGER } from './signals.ts'

/** A worker that does not confirm the end of sessions, or a configuration, in this time is killed: it may still admit what it should not. */
const CONFIRM_TIMEOUT_MS = 2000

/** Descriptors 0 to 2 are the usual ones and 3 is the channel to the primary; those that are given follow. */
const FIRST_GIVEN_FD = 4

const WORKER_MAIN = fileURLToPath(new URL(`./worker-main${extname(import.meta.filename)}`, import.meta.url))

type StartMessage = Extract<ToWorker, { type: 'start' }>

/** Descriptors of the primary that a worker inherits. */
export interface Inherited {
  /** Of the listening sockets, in the order of the configuration. */
  readonly listen: readonly number[]
  /** Of the memory that it counts in. */
  readonly counters: number
  /** Of the socket where services bring back requests. */
  readonly returns: number
  /** Where workers give connections to newer ones. */
  readonly passage: Passage
  /** Where it takes listening sockets later; both ends are the worker process's object's. */
  readonly sockets: Passage
}

/** Who hears of a worker. */
export interface WorkerListener {
  readonly said: (message: ToPrimary) => void
  /** It could not be started, or told something. */
  readonly failed: (error: Error) => void
  readonly exited: (code: number | null, signal: NodeJS.Signals | null) => void
}

/** See the head of this file. */
export class WorkerProcess {
  /** Whether it serves. */
  isReady = false
  /** How it has its connections; null before it serves. */
  transport: TransportSaid | null = null
  /** Its stage of overload; null as long as it never had another than 0. */
  overload: OverloadState | null = null
  /** Beats since it said anything. What is counted is beats and not time: a machine that stood still is no fault of the worker's. */
  silentBeats = 0
  /** Whether it is to end, since fewer are wanted. */
  isRetiring = false
  /** What it inherits, by its numbers there. */
  readonly given: Pick<StartMessage, 'listenFds' | 'countersFd' | 'returnFd' | 'passage' | 'socketsFd'>
  readonly #socketsFd: number
  readonly #child: ChildProcess
  /** By what is to be confirmed. */
  readonly #confirmations = new Map<string, () => void>()
  readonly #answers = new Answers()
  readonly #exited: WorkerListener['exited']

  /**
   * @param inherited of this process, for the worker
   * @param account whom it runs as; null: this process's user
   */
  constructor(
    { listen, counters, returns, passage, sockets }: Inherited,
    account: Account | null,
    { said, failed, exited }: WorkerListener,
  ) {
    this.#exited = exited
    this.#socketsFd = sockets.giveFd
    const inherited = [counters, returns, passage.giveFd, passage.takeFd, sockets.takeFd, ...listen]
    const [countersFd = -1, returnFd = -1, giveFd = -1, takeFd = -1, socketsFd = -1, ...listenFds] = inherited.map(
      (_, index) => FIRST_GIVEN_FD + index,
    )
    this.given = { countersFd, returnFd, passage: { giveFd, takeFd }, socketsFd, listenFds }
    this.#child = fork(WORKER_MAIN, [build()], {
      execArgv: [...new Set([...process.execArgv, WITHOUT_DEBUGGER])],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...inherited],
      ...account,
    })
    closeDescriptor(sockets.takeFd)
    this.#child.on('message', (message: ToPrimary) => {
      this.silentBeats = 0
      said(message)
    })
    this.#child.on('error', (error) => {
      failed(error)
      // It was never started, so that it will not exit.
      if (this.pid === undefined) this.#gone(null, null)
    })
    this.#child.once('exit', (code, signal) => this.#gone(code, signal))
  }

  /** Undefined when it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid
  }

  tell(message: ToWorker): void {
    // An error means that the worker is gone: its exit says so too.
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /**
   * Tells it that sessions ended. Resolves when it admits these no more: it has confirmed that, or is gone.
   * @param silent told when it does not confirm in time, and is killed
   */
  ended(ending: number, uuids: readonly string[], silent: () => void): Promise<void> {
    // One that is still starting has asked nothing yet, so that it knows no session.
    if (!this.isReady) return Promise.resolve()
    return this.#tellSurely({ type: 'ended', ending, uuids }, endingKey(ending), silent)
  }

  /**
   * Gives it another configuration, or another certificate. Resolves when that is in force there, or the worker is gone; one that is still
   * starting serves nobody before that.
   * @param sockets of the listeners that it opens
   * @param silent told when it does not confirm in time, and is killed
   */
  configure(
    message: Extract<ToWorker, { type: 'configure' | 'tls' }>,
    sockets: readonly number[],
    silent: () => void,
  ): Promise<void> {
    // One that does not even take these will not confirm either.
    for (const fd of sockets) passConnection(this.#socketsFd, fd, 'listener')
    if (this.isReady) return this.#tellSurely(message, changeKey(message.change), silent)
    this.tell(message)
    return Promise.resolve()
  }

  #tellSurely(message: ToWorker, key: string, silent: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      silent()
      this.kill()
    }, CONFIRM_TIMEOUT_MS)
    this.#confirmations.set(key, () => {
      clearTimeout(timer)
      this.#confirmations.delete(key)
      resolve()
    })
    this.tell(message)
    return promise
  }

  /** Asks it. Resolves with undefined when it does not answer. */
  ask<Kind extends keyof Told>(asked: Question<Kind>): Promise<Told[Kind] | undefined> {
    if (!this.isReady) return Promise.resolve(undefined)
    return this.#answers.of(asked, (question) => this.tell({ type: 'asked', question, asked }))
  }

  /** It has answered. */
  told(question: number, told: unknown): void {
    this.#answers.told(question, told)
  }

  /** It has said that no request of the sessions of this ending is admitted any more. */
  confirmed(ending: number): void {
    this.#confirmations.get(endingKey(ending))?.()
  }

  /** It has said that what has this number is in force. */
  configured(change: number): void {
    this.#confirmations.get(changeKey(change))?.()
  }

  #gone(code: number | null, signal: NodeJS.Signals | null): void {
    closeDescriptor(this.#socketsFd)
    this.#answers.end()
    this.#exited(code, signal)
    for (const confirm of this.#confirmations.values()) confirm()
  }
}

function endingKey(ending: number): string {
  return `ending ${ending}`
}

function changeKey(change: number): string {
  return `change ${change}`
}
