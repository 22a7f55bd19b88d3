// The configuration of a command, with all that can be known of it before anything is started.

import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { ConfigError, type ConfigProblem, type LoadedConfig, loadConfig } from '../config/load.ts'
import type { Config } from '../config/config.ts'
import { descriptorDoubts, inspect } from '../process/preflight.ts'
import { CliError } from './errors.ts'
import type { Io } from './io.ts'

/** A configuration that can be served. */
export interface CheckedConfig {
  readonly config: Config
  /** What the operator may not have meant. */
  readonly doubts: readonly ConfigProblem[]
  /** The same of the limit of open files, which the daemon reports with its workers. */
  readonly descriptorDoubts: readonly ConfigProblem[]
}

/**
 * The path of the configuration that is meant: `given`, or the default one.
 *
 * @throws {CliError} `config-missing` when none is given and the default one is not there
 */
export function configPath(given: string | undefined, io: Io): string {
  if (given !== undefined) return resolve(io.cwd, given)
  if (existsSync(io.defaultConfig)) return io.defaultConfig
  throw new CliError('config-missing', `no --config was given, and there is no ${io.defaultConfig}`)
}

/**
 * Loads the configuration at `path`, and looks at what it names on this host.
 *
 * @throws {ConfigError} when a daemon would not start with it
 */
export async function loadChecked(path: string): Promise<CheckedConfig> {
  const loaded: LoadedConfig = await loadConfig(path)
  const { refusals, doubts } = await inspect(loaded.config)
  if (refusals.length > 0) throw new ConfigError(path, loaded.located(refusals))
  return {
    config: loaded.config,
    doubts: loaded.located(doubts),
    descriptorDoubts: loaded.located(descriptorDoubts(loaded.config)),
  }
}
