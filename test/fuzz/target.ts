// What is fuzzed: each target makes inputs from a seed, and tries them.

import type { TestContext } from 'node:test'
import type { Random } from '../soak/random.ts'

/** A part that reads what others send. */
export interface Target {
  readonly name: string
  /** Starts what the inputs are for; it ends with the test. */
  start(t: TestContext): Promise<Tried> | Tried
}

/** What tries inputs. */
export interface Tried {
  /** An input, as JSON has it; text stands for bytes, one a character. */
  make(random: Random): Input
  /** @throws when the input shows a fault */
  attempt(input: Input): Promise<void> | void
  /** At the end: what the inputs came to, for people. @throws when they were not worth anything */
  finish?(): Promise<string> | string
}

/** An input: all that is needed to try it again. */
export type Input = Readonly<Record<string, string | number | boolean | readonly number[] | readonly string[]>>
