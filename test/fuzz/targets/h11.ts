// Python's h11, as one more reading of requests, where it is installed (`pip install h11`).

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import type { Outcome } from '../../../packages/http1/src/testing/read-messages.ts'

interface Reading {
  readonly messages: readonly { readonly line: string; readonly body: string; readonly whole: boolean }[]
  readonly error: string | null
}

/** See the head of this file. */
export interface H11 {
  /** Messages on which both agreed. */
  readonly count: number
  /** @throws when h11 reads differently what the codec has read */
  compare(text: string, ours: Outcome): Promise<void>
}

/** One of so many is compared: it takes more time than all else. */
const ONE_OF = 10

/** Starts it; null where it is not installed. */
export async function startH11(t: TestContext): Promise<H11 | null> {
  if (spawnSync('python3', ['-c', 'import h11']).status !== 0) return null
  const child = spawn('python3', [join(import.meta.dirname, 'h11_reader.py')], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill())
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  let asked = 0
  const h11 = {
    count: 0,
    compare: async (text: string, ours: Outcome): Promise<void> => {
      if (asked++ % ONE_OF !== 0) return
      child.stdin.write(`${JSON.stringify(text)}\n`)
      const { value } = (await lines.next()) as { readonly value: string }
      h11.count += agreed(JSON.parse(value) as Reading, ours)
    },
  }
  return h11
}

/** It may refuse what the codec takes; what both take they take for the same. */
function agreed({ messages }: Reading, ours: Outcome): number {
  let count = 0
  for (const [index, { startLine, body, isComplete, isPersistent }] of ours.messages.entries()) {
    const their = messages[index]
    if (!isComplete || their === undefined || !their.whole) break
    assert.deepEqual([their.line, their.body], [startLine, body], 'h11 reads another message')
    count++
    if (!isPersistent) break
  }
  return count
}
