// Whose users and sessions a command works on.

import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { loadConfig, loadStateDirectory } from '../config/load.ts'
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

/** A state directory, by which its daemon is found, and what named it: an option, or what is found without one. */
export interface NamedState {
  readonly stateDir: string
  readonly from: string
}

/** Where users and sessions are: in the database of a state directory, or in the Valkey of a configuration. */
export type AccountPlace = NamedState &
  ({ readonly kind: 'embedded' } | { readonly kind: 'valkey'; readonly config: Config })

/**
 * Where the users are that the options mean: without any, those that `xengate dev` made in the working directory, or else those
 * of this host's configuration.
 *
 * @throws {CliError} `state-missing`, `users-elsewhere`.
 * @throws {ConfigError} when the configuration is not valid.
 */
export async function accountPlace(options: StateOptions, io: Io): Promise<AccountPlace> {
  const named = developing(options, io)
  if (named !== null) return { kind: 'embedded', ...named }
  const path = configPath(options.config, io)
  const { config } = await loadConfig(path)
  return placeOf(config, fromConfig(path, options))
}

function fromConfig(path: string, { config }: StateOptions): string {
  return config === undefined ? path : `--config ${path}`
}

/** The state directory, where the options mean one of `xengate dev`; null where they mean a configuration. */
function developing(options: StateOptions, io: Io): NamedState | null {
  if (options.state !== undefined) return { stateDir: resolve(io.cwd, options.state), from: '--state' }
  const dev = join(io.cwd, DEV_STATE)
  if (options.config !== undefined) return null
  if (existsSync(dev)) return { stateDir: dev, from: `${DEV_STATE} in this directory` }
  if (!isAbsent(io.defaultConfig)) return null
  const none = `there is neither a ${DEV_STATE} directory here nor ${io.defaultConfig}`
  throw new CliError('state-missing', `neither --config nor --state was given, and ${none}`)
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
 * The state directory that the options mean, in the same order: of whatever authority. What else stands in the configuration may be wrong:
 * the daemon runs with an earlier one.
 *
 * @throws {CliError} `state-missing`. @throws {ConfigError} when the configuration is not TOML, or its state directory is none.
 */
export async function stateDirectory(options: StateOptions, io: Io): Promise<NamedState> {
  const named = developing(options, io)
  if (named !== null) return named
  const path = configPath(options.config, io)
  return { stateDir: await loadStateDirectory(path), from: fromConfig(path, options) }
}

function placeOf(config: Config, from: string): AccountPlace {
  switch (config.sessions.authority) {
    case 'embedded':
      return { kind: 'embedded', stateDir: config.stateDir, from }
    case 'valkey':
      return { kind: 'valkey', stateDir: config.stateDir, from, config }
    case 'xapi':
      throw new CliError(
        'users-elsewhere',
        'the users are those of the host, and so are their sessions: the authority is "xapi"',
      )
  }
}
