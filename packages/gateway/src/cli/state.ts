// Whose users a command works on.

import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { loadConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { CliError } from './errors.ts'
import { type Io } from './io.ts'

/** Where `xengate dev` keeps its state when it is not told. */
export const DEV_STATE = '.xengate'

/** The options that name a state directory. */
export interface StateOptions {
  readonly config?: string
  readonly state?: string
}

/** Where users are: in the database of a state directory, or in the Valkey of a configuration. */
export type UserPlace =
  | { readonly kind: 'embedded'; readonly stateDir: string }
  | { readonly kind: 'valkey'; readonly config: Config }

/**
 * Where the users are that the options mean, or those that `xengate dev` made in the working directory.
 *
 * @throws {CliError} `state-missing`, `users-elsewhere`.
 * @throws {ConfigError} when the configuration is not valid.
 */
export async function userPlace(options: StateOptions, io: Io): Promise<UserPlace> {
  if (options.state !== undefined) return { kind: 'embedded', stateDir: resolve(io.cwd, options.state) }
  if (options.config !== undefined) return placeOf(await loadConfig(resolve(io.cwd, options.config)))
  const dev = join(io.cwd, DEV_STATE)
  if (existsSync(dev)) return { kind: 'embedded', stateDir: dev }
  throw new CliError('state-missing', `there is no ${DEV_STATE} here, so it is not clear whose users are meant`)
}

function placeOf(config: Config): UserPlace {
  switch (config.sessions.authority) {
    case 'embedded':
      return { kind: 'embedded', stateDir: config.stateDir }
    case 'valkey':
      return { kind: 'valkey', config }
    case 'xapi':
      throw new CliError('users-elsewhere', 'the users are those of the host: the authority is "xapi"')
  }
}
