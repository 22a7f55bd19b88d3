// xengate serve-plugins: the custom service that runs plugin scripts of the XenAPI, in this process.

import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { ServiceError } from '@xengate/service'
import { parseDuration } from '../../config/durations.ts'
import { PLUGINS_SERVICE } from '../../model/plugins-service.ts'
import { servePlugins } from '../../plugins/service.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, say } from '../io.ts'

export interface ServePluginsOptions {
  readonly scripts: string
  readonly directory: string
  readonly group?: string
  readonly runs: number
  /** A duration that is valid. */
  readonly timeout: string
  readonly output: number
}

/** Resolves when it listens; a signal ends the process. @throws {CliError} when a directory or the sockets cannot be used */
export async function servePluginsCommand(options: ServePluginsOptions, io: Io): Promise<number> {
  const { group, runs, timeout, output } = options
  const [scripts, directory] = [resolve(io.cwd, options.scripts), resolve(io.cwd, options.directory)]
  try {
    readdirSync(scripts)
    await servePlugins({
      scripts,
      directory,
      ...(group === undefined ? {} : { group }),
      runsMax: runs,
      timeoutMs: parseDuration(timeout) ?? 0,
      outputBytesMax: output,
    })
  } catch (error) {
    if (error instanceof ServiceError) throw new CliError('plugins-unusable', error.message, { cause: error })
    if (!(error instanceof Error && 'syscall' in error)) throw error
    throw new CliError('plugins-unusable', `cannot read the scripts in ${scripts}: ${error.message}`, { cause: error })
  }
  say(io, `${PLUGINS_SERVICE} listens in ${directory}, and runs the scripts in ${scripts}`)
  return EXIT.ok
}
