// Which state directory a command works on.

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { loadConfig } from '../config/load.ts'
import { CliError } from './errors.ts'
import { type Io } from './io.ts'

/** Where `xengate dev` keeps its state when it is not told. */
export const DEV_STATE = '.xengate'

/** The options that name a state directory. */
export interface StateOptions {
  readonly config?: string
  readonly state?: string
}

/**
 * The state directory that the options name, or that `xengate dev` made in the working directory.
 *
 * @throws {CliError} `state-missing`.
 * @throws {ConfigError} when the configuration is not valid.
 */
export async function stateDirOf(options: StateOptions, io: Io): Promise<string> {
  if (options.state !== undefined) return resolve(io.cwd, options.state)
  if (options.config !== undefined) return (await loadConfig(resolve(io.cwd, options.config))).stateDir
  const dev = join(io.cwd, DEV_STATE)
  if (existsSync(dev)) return dev
  throw new CliError('state-missing', `there is no ${DEV_STATE} here, so it is not clear whose users are meant`)
}

/** The database of users and sessions in a state directory. */
export function databasePath(stateDir: string): string {
  return join(stateDir, 'xengate.db')
}
