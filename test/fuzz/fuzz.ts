// Tries inputs on a target for a while. The inputs are the seed's: the same each time. One that shows a fault is written to a file, from
// which it can be tried again.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import type { TestContext } from 'node:test'
import { Random } from '../soak/random.ts'
import type { Input, Target } from './target.ts'

/** Inputs that have shown a fault once: tried first, each time. */
const CORPUS = join(import.meta.dirname, 'corpus')
/** Where an input that shows a fault is written to. */
const FOUND = join(import.meta.dirname, '..', '..', '.fuzz')

/** For how long, and with which inputs. */
export interface FuzzOptions {
  readonly seconds: number
  readonly seed: number
}

/**
 * @returns how many inputs of the seed were tried
 * @throws when an input shows a fault; the message has the seed, the input's number and the file
 */
export async function fuzz(t: TestContext, target: Target, { seconds, seed }: FuzzOptions): Promise<number> {
  const tried = await target.start(t)
  for (const file of readdirSync(CORPUS).filter((name) => name.startsWith(`${target.name}-`))) {
    await tried.attempt(readInput(join(CORPUS, file)))
  }
  const random = new Random(seed)
  const until = performance.now() + seconds * 1000
  let count = 0
  for (; performance.now() < until; count++) {
    const input = tried.make(new Random(random.seed()))
    try {
      await tried.attempt(input)
    } catch (error) {
      const path = write(`${target.name}-${seed}-${count}.json`, input)
      throw new Error(`--seed ${seed}, input ${count}: npm run fuzz -- --only ${target.name} --input ${path}`, {
        cause: error,
      })
    }
  }
  t.diagnostic(
    `${target.name}: ${count} inputs in ${seconds} s, --seed ${seed}; ${(await tried.finish?.()) ?? 'all right'}`,
  )
  return count
}

/** Tries one input again. */
export async function tryAgain(t: TestContext, target: Target, path: string): Promise<void> {
  const tried = await target.start(t)
  await tried.attempt(readInput(path))
}

function readInput(path: string): Input {
  return JSON.parse(readFileSync(path, 'utf8')) as Input
}

function write(name: string, input: Input): string {
  mkdirSync(FOUND, { recursive: true })
  const path = join(FOUND, name)
  writeFileSync(path, `${JSON.stringify(input, null, 2)}\n`)
  return path
}
