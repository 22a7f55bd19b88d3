// Fleets in processes of their own, from outside.

import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { Answer, Orders } from './fleet.ts'

const PROGRAM = join(import.meta.dirname, 'fleet.ts')
/** An order that is not done in this time never will be. */
const ORDER_MS = 80_000

/** A process with a fleet. */
export class FleetProcess {
  readonly #child: ChildProcess
  readonly #answers = new Map<number, PromiseWithResolvers<unknown>>()
  #orders = 0

  constructor() {
    this.#child = fork(PROGRAM, { serialization: 'advanced' })
    this.#child.on('message', ({ id, result, error }: Answer) => {
      const answer = this.#answers.get(id)
      this.#answers.delete(id)
      if (error === undefined) answer?.resolve(result)
      else answer?.reject(new Error(error))
    })
    this.#child.on('exit', () => {
      for (const answer of this.#answers.values()) answer.reject(new Error('a process of the simulation ended'))
    })
  }

  /** Gives an order, and waits until it is done. */
  async order<Name extends keyof Orders>(
    name: Name,
    ...argv: Parameters<Orders[Name]>
  ): Promise<Awaited<ReturnType<Orders[Name]>>> {
    const id = ++this.#orders
    const answer = Promise.withResolvers<unknown>()
    this.#answers.set(id, answer)
    this.#child.send({ id, order: name, argv })
    const timer = setTimeout(() => answer.reject(new Error(`"${name}" was not done in ${ORDER_MS} ms`)), ORDER_MS)
    try {
      return (await answer.promise) as Awaited<ReturnType<Orders[Name]>>
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends it now. */
  kill(): void {
    this.#child.kill('SIGKILL')
  }
}
