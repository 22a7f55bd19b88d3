// The command line as a function.

import { CommanderError } from 'commander'
import { EXIT, reportFailure } from './errors.ts'
import type { Io } from './io.ts'
import { createProgram } from './program.ts'

/**
 * Runs one command.
 *
 * @param argv the arguments after the command's name.
 * @returns the exit code: 0 done, 1 failed, 2 used wrongly. Never rejects; what went wrong is on `io.stderr`.
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  let code: number = EXIT.ok
  const program = createProgram(io, (exit) => (code = exit))
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return code
  } catch (error) {
    if (!(error instanceof CommanderError)) return reportFailure(error, io)
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage
  }
}
