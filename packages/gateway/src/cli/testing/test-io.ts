// A world for commands under test: what they read is given, what they write is kept.

import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { run } from '../run.ts'

/** Where a command's working directory has what is otherwise /etc/xengate/xengate.toml. */
export const DEFAULT_CONFIG = 'etc.toml'

/** What a command did. */
export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Standard input: a file or pipe with this text, or a terminal at which this is typed, a chunk for each question. */
export type Input = { readonly text: string } | { readonly typed: readonly string[] }

/** Runs a command in the directory `cwd`. */
export async function runCommand(cwd: string, argv: readonly string[], input: Input = { text: '' }): Promise<Outcome> {
  const [stdin, stdout, stderr] = [new PassThrough(), new Kept(), new Kept()]
  const isTTY = 'typed' in input
  const typed = isTTY ? [...input.typed] : []
  let rawMode = false
  const setRawMode = (isRaw: boolean): void => {
    rawMode = isRaw
    const next = isRaw ? typed.shift() : undefined
    if (next !== undefined) stdin.write(next)
  }
  if ('text' in input) stdin.end(input.text)
  const code = await run(argv, {
    stdin: Object.assign(stdin, isTTY ? { isTTY, setRawMode } : {}),
    stdout,
    stderr,
    env: {},
    cwd,
    defaultConfig: join(cwd, DEFAULT_CONFIG),
  })
  if (rawMode) throw new Error('the terminal was left in raw mode')
  return { code, stdout: stdout.text, stderr: stderr.text }
}

/** Keeps what is written. */
class Kept extends Writable {
  text = ''

  constructor() {
    super({ decodeStrings: false })
  }

  override _write(chunk: Buffer | string, _encoding: string, done: () => void): void {
    this.text += String(chunk)
    done()
  }
}
