// What a command is given of the world.

import type { Readable, Writable } from 'node:stream'

/** Where a command reads, writes and runs. A terminal can be told not to show what is typed. */
export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean; setRawMode?(isRaw: boolean): unknown }
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number }
  readonly stderr: Writable & { readonly isTTY?: boolean; readonly columns?: number }
  readonly env: Readonly<NodeJS.ProcessEnv>
  /** Directory that relative paths are relative to. */
  readonly cwd: string
  /** The configuration of this host, for commands that are given none. */
  readonly defaultConfig: string
}

/** Says a line to the person who watches the log, if one does. */
export function sayer(io: Io): { readonly say?: (line: string) => void } {
  return io.stdout.isTTY === true ? { say: (line) => say(io, line) } : {}
}

/** Prints a line of data. */
export function print(io: Io, line: string): void {
  io.stdout.write(`${line}\n`)
}

/** Prints a line for the person at the terminal. */
export function say(io: Io, line: string): void {
  io.stderr.write(`${line}\n`)
}
