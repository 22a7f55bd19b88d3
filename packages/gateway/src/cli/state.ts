// Whose users and sessions a command works on.

import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { loadConfig } from '../config/load.ts'
import type { Config } from '../config/config.ts'
import { configPath } from './checked-config.ts'
import { CliError } from './errors.ts'
import type { Io } from './io.ts'

/** Where `xengate dev` keeps its state when it is not told. */
export const DEV_STATE = '.xengate'

/** The options that name a state directory. */
export interface StateOptions {
  readonly config?: string
  readonly state?: string
}

/** Where users and sessions are: in the database of a state directory, or in the Valkey of a configuration. */
export type AccountPlace =
  | { readonly kind: 'embedded'; readonly stateDir: string }
  | { readonly kind: 'valkey'; readonly stateDir: string; readonly config: Config }

/**
 * Where the users are that the options mean: without any, those that `xengate dev` made in the working directory, or else those
 * of this host's configuration.
 *
 * @throws {CliError} `state-missing`, `users-elsewhere`.
 * @throws {ConfigError} when the configuration is not valid.
 */
export async function accountPlace(options: StateOptions, io: Io): Promise<AccountPlace> {
  if (options.state !== undefined) return { kind: 'embedded', stateDir: resolve(io.cwd, options.state) }
  const dev = join(io.cwd, DEV_STATE)
  if (options.config === undefined && existsSync(dev)) return { kind: 'embedded', stateDir: dev }
  if (options.config === undefined && isAbsent(io.defaultConfig)) {
    const none = `there is neither a ${DEV_STATE} directory here nor ${io.defaultConfig}`
    throw new CliError('state-missing', `neither --config nor --state was given, and ${none}`)
  }
  const { config } = await loadConfig(configPath(options.config, io))
  return placeOf(config)
}

/** Whether there is no such file; one that this user may not see is none. */
function isAbsent(path: string): boolean {
  try {
    statSync(path)
    return false
  } catch (error) {
    return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
  }
}

/**
 * The state directory that the options mean, in the same order: of whatever authority.
 *
 * @throws {CliError} `state-missing`. @throws {ConfigError} when the configuration is not valid.
 */
export async function stateDirectory(options: StateOptions, io: Io): Promise<string> {
  try {
    return (await accountPlace(options, io)).stateDir
  } catch (error) {
    if (!(error instanceof CliError) || error.code !== 'users-elsewhere') throw error
    return (await loadConfig(configPath(options.config, io))).config.stateDir
  }
}

function placeOf(config: Config): AccountPlace {
  switch (config.sessions.authority) {
    case 'embedded':
      return { kind: 'embedded', stateDir: config.stateDir }
    case 'valkey':
      return { kind: 'valkey', stateDir: config.stateDir, config }
    case 'xapi':
      throw new CliError(
        'users-elsewhere',
        'the users are those of the host, and so are their sessions: the authority is "xapi"',
      )
  }
}
