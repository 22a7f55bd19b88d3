// What a test or a suite starts, it ends: cleanups run in the reverse order, and a failure is explained first.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, type TestContext } from 'node:test'

type Cleanup = () => Promise<void> | void

/** Things that live as long as a test, or as a suite. */
export class Scope {
  readonly #cleanups: Cleanup[] = []
  readonly #explanations: (() => string)[] = []

  /** Runs `cleanup` at the end, before what was deferred earlier. */
  defer(cleanup: Cleanup): void {
    this.#cleanups.push(cleanup)
  }

  /** Prints what `explanation` returns when a test fails. */
  onFailure(explanation: () => string): void {
    this.#explanations.push(explanation)
  }

  /** Prints what there is to say about a failure of the test `name`. */
  explain(name: string): void {
    for (const explanation of this.#explanations) process.stderr.write(`\n── ${name}: ${explanation()}\n`)
  }

  /** A fresh directory, whose path is short enough for sockets in it. */
  async directory(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'xg-'))
    this.defer(() => rm(path, { recursive: true, force: true }))
    return path
  }

  /** Runs every cleanup. @throws what went wrong in any of them */
  async close(): Promise<void> {
    const errors: unknown[] = []
    for (let cleanup = this.#cleanups.pop(); cleanup !== undefined; cleanup = this.#cleanups.pop()) {
      try {
        await cleanup()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, `clean up: ${errors.map(String).join('; ')}`)
  }
}

/** The scope of the test `t`. */
export function scopeOf(t: TestContext): Scope {
  const scope = new Scope()
  t.after(async () => {
    if (!hasPassed(t)) scope.explain(t.name)
    await scope.close()
  })
  return scope
}

/** The scope of the suite, or the file, in which this is called. */
export function scopeOfSuite(): Scope {
  const scope = new Scope()
  afterEach((t) => {
    if (!hasPassed(t as TestContext)) scope.explain(t.name)
  })
  after(() => scope.close())
  return scope
}

/** Node.js 26 has this property; its types do not. */
function hasPassed(t: TestContext): boolean {
  return (t as TestContext & { readonly passed: boolean }).passed
}
