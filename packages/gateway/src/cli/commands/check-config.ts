// xengate check-config: says what is wrong with a configuration file, all of it.

import { resolve } from 'node:path'
import { ConfigError, loadConfig } from '../../config/load.ts'
import { EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'

export async function checkConfig(
  options: { readonly config: string; readonly json?: boolean },
  io: Io,
): Promise<number> {
  const problems = await problemsOf(resolve(io.cwd, options.config))
  if (options.json === true) print(io, JSON.stringify(problems, null, 2))
  for (const { line, message } of problems) {
    say(io, `${line === 0 ? options.config : `${options.config}:${line}`}: ${message}`)
  }
  if (problems.length > 0) return EXIT.failed
  say(io, `${options.config}: valid`)
  return EXIT.ok
}

async function problemsOf(path: string): Promise<ConfigError['problems']> {
  try {
    await loadConfig(path)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
