// Passwords come from standard input or are typed without being shown; never from an argument, which every user of the
// machine could read in the list of processes.

import { createInterface } from 'node:readline'
import { CliError } from './errors.ts'
import type { Io } from './io.ts'

/** Bytes of the longest password, of which the store takes fewer; more is not read. */
const PASSWORD_BYTES_MAX = 4096

const CTRL_C = '\u0003'
const CTRL_D = '\u0004'
const BACKSPACE: ReadonlySet<string> = new Set(['\b', '\u007F'])
const ENTER: ReadonlySet<string> = new Set(['\r', '\n'])

/**
 * Reads a new password: all of standard input without its last line break, or typed twice at a terminal.
 *
 * @throws {CliError} `password-unreadable`, `password-differs`.
 */
export async function readNewPassword(isFromStdin: boolean, io: Io): Promise<string> {
  if (isFromStdin) return readAll(io)
  if (io.stdin.isTTY !== true || io.stdin.setRawMode === undefined) {
    throw new CliError('password-unreadable', 'cannot ask for the password: standard input is not a terminal')
  }
  const password = await ask('Password: ', io)
  if ((await ask('Again: ', io)) !== password) throw new CliError('password-differs', 'the two passwords differ')
  return password
}

/** Reads a password that there is: all of standard input without its last line break, or typed at a terminal. @throws as above */
export async function readPassword(isFromStdin: boolean, question: string, io: Io): Promise<string> {
  if (isFromStdin) return readAll(io)
  if (io.stdin.isTTY !== true || io.stdin.setRawMode === undefined) {
    throw new CliError('password-unreadable', 'cannot ask for the password: standard input is not a terminal')
  }
  return ask(question, io)
}

/** Asks at the terminal for a line that is shown as it is typed. */
export async function askLine(question: string, io: Io): Promise<string> {
  io.stderr.write(question)
  const lines = createInterface({ input: io.stdin })
  for await (const line of lines) return line
  throw givenUp()
}

/** Asks for a yes at the terminal; anything else is a no. */
export async function confirm(question: string, io: Io): Promise<boolean> {
  return /^y(?:es)?$/i.test((await ask(`${question} (y/N) `, io)).trim())
}

async function readAll(io: Io): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of io.stdin) {
    const part = Buffer.from(chunk)
    bytes += part.length
    if (bytes > PASSWORD_BYTES_MAX) {
      throw new CliError('password-invalid', `standard input has more than ${PASSWORD_BYTES_MAX} bytes of password`)
    }
    chunks.push(part)
  }
  return decode(Buffer.concat(chunks)).replace(/\r?\n$/, '')
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new CliError('password-invalid', 'the password is not UTF-8', { cause })
  }
}

/** Asks at the terminal, in raw mode: what is typed is not shown. */
async function ask(question: string, io: Io): Promise<string> {
  // Before the question: who answers at once is not shown either.
  io.stdin.setRawMode?.(true)
  io.stderr.write(question)
  try {
    return await typedLine(io)
  } finally {
    io.stdin.setRawMode?.(false)
    io.stdin.pause()
    io.stderr.write('\n')
  }
}

function typedLine(io: Io): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const decoder = new TextDecoder()
  let line: string[] = []
  const onData = (chunk: Buffer): void => {
    for (const char of decoder.decode(chunk, { stream: true })) {
      if (ENTER.has(char)) return resolve(line.join(''))
      if (char === CTRL_C || char === CTRL_D) return reject(givenUp())
      line = BACKSPACE.has(char) ? line.slice(0, -1) : [...line, char].slice(0, PASSWORD_BYTES_MAX)
    }
  }
  const onEnd = (): void => reject(givenUp())
  io.stdin.on('data', onData).once('end', onEnd).resume()
  return promise.finally(() => io.stdin.off('data', onData).off('end', onEnd))
}

function givenUp(): CliError {
  return new CliError('password-unreadable', 'no password was given')
}
