// Readers of requests of other makes, as more opinions on the same bytes: Python's h11, and Go's net/http where its toolchain is there.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { goEnvironment } from '../../service-libraries/library.ts'
import type { Outcome } from '../../../packages/http1/src/testing/read-messages.ts'

/** Its programs answer a line, JSON of bytes (one a character), with a line of what they have read. */
interface Reading {
  readonly messages: readonly { readonly line: string; readonly body: string; readonly whole: boolean }[]
}

/** See the head of this file. */
export interface OtherReader {
  readonly name: string
  /** Messages on which both agreed. */
  readonly count: number
  /** @throws when it reads differently what the codec has read */
  compare(text: string, ours: Outcome): Promise<void>
}

/** One of so many is compared: it takes more time than all else. */
const ONE_OF = 10

/** Debian's, which has Debian's modules, and whichever is in the path. */
const PYTHONS = ['/usr/bin/python3', 'python3']

/** Starts those that are there. */
export function startOtherReaders(t: TestContext): OtherReader[] {
  return [startH11(t), startGo(t)].filter((reader) => reader !== null)
}

function startH11(t: TestContext): OtherReader | null {
  const python = PYTHONS.find((command) => spawnSync(command, ['-c', 'import h11']).status === 0)
  return python === undefined ? null : started(t, 'h11', [python, join(import.meta.dirname, 'h11_reader.py')])
}

function startGo(t: TestContext): OtherReader | null {
  const directory = mkdtempSync(join(tmpdir(), 'xg-go-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const program = join(directory, 'reader')
  const source = join(import.meta.dirname, 'go_reader.go')
  const built = spawnSync('go', ['build', '-o', program, source], {
    encoding: 'utf8',
    cwd: directory,
    env: goEnvironment(),
  })
  if (built.error !== undefined) return null
  assert.equal(built.status, 0, built.stderr)
  return started(t, 'net/http', [program])
}

function started(t: TestContext, name: string, [command = '', ...argv]: readonly string[]): OtherReader {
  const child: ChildProcess = spawn(command, argv, { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill())
  assert.ok(child.stdin !== null && child.stdout !== null)
  const { stdin, stdout } = child
  const lines = createInterface(stdout)[Symbol.asyncIterator]()
  let asked = 0
  const reader = {
    name,
    count: 0,
    compare: async (text: string, ours: Outcome): Promise<void> => {
      if (asked++ % ONE_OF !== 0) return
      stdin.write(`${JSON.stringify(text)}\n`)
      const { value } = (await lines.next()) as { readonly value: string }
      reader.count += agreed(name, JSON.parse(value) as Reading, ours)
    },
  }
  return reader
}

/** It may refuse what the codec takes; what both take they take for the same. */
function agreed(name: string, { messages }: Reading, ours: Outcome): number {
  let count = 0
  for (const [index, { startLine, body, isComplete, isPersistent }] of ours.messages.entries()) {
    const their = messages[index]
    if (!isComplete || their === undefined || !their.whole) break
    assert.deepEqual([their.line, their.body], [startLine, body], `${name} reads another message`)
    count++
    if (!isPersistent) break
  }
  return count
}
