// Reads the configuration file, and says all that is wrong with it at once, each at its line.

import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { TomlError, parse } from 'smol-toml'
import { locateKeys } from './locate.ts'
import { explainIssues, formatKey, type Problem } from './problems.ts'
import { parseConfig } from './schema.ts'
import type { Config } from './config.ts'

/** Something wrong in the configuration file. */
export interface ConfigProblem {
  /** The key as it would be written, such as `limits.head-bytes`; empty for the file as a whole. */
  readonly key: string
  /** Line of the key, or of the table it is missing from, from 1; 0 for the file as a whole. */
  readonly line: number
  /** What is wrong and what to do: a clause that names the key, without a full stop. */
  readonly message: string
}

/** The configuration cannot be used. `problems` is never empty, and in the order of the file. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly code = 'config-invalid'
  readonly problems: readonly ConfigProblem[]

  constructor(path: string, problems: readonly ConfigProblem[], options?: ErrorOptions) {
    const lines = problems.map(({ line, message }) => `${line === 0 ? path : `${path}:${line}`}: ${message}`)
    super(lines.join('\n'), options)
    this.problems = problems
  }
}

/** A configuration, and how to speak of its keys. */
export interface LoadedConfig {
  readonly config: Config
  /** What stands in the file, with its own keys. */
  readonly input: unknown
  /** Puts problems at the lines of their keys, in the order of the file. */
  readonly located: (problems: readonly Problem[]) => ConfigProblem[]
}

/**
 * Loads the configuration from the TOML file at `path`. Relative paths in it are relative to its directory.
 *
 * @throws {ConfigError} when the file cannot be read, is not TOML, or asks for what cannot be.
 */
export async function loadConfig(path: string): Promise<LoadedConfig> {
  const text = await readText(path)
  const input = parseToml(path, text)
  const parsed = parseConfig(input, dirname(resolve(path)))
  const located = (problems: readonly Problem[]): ConfigProblem[] => {
    const lineOf = locateKeys(text)
    return problems
      .map((problem) => ({
        key: formatKey(problem.path),
        line: lineOf(problem.path) ?? 0,
        message: problem.message,
      }))
      .toSorted((a, b) => a.line - b.line)
  }
  if (parsed.ok) return { config: parsed.config, input, located }
  throw new ConfigError(path, located(explainIssues(parsed.issues, input)))
}

/**
 * The state directory of the configuration at `path`, whatever else is wrong with that.
 *
 * @throws {ConfigError} when the file cannot be read, is not TOML, or that cannot be one.
 */
export async function loadStateDirectory(path: string): Promise<string> {
  const stateDir = stateDirIn(await readText(path))
  const parsed = parseConfig(stateDir === undefined ? {} : { 'state-dir': stateDir }, dirname(resolve(path)))
  return parsed.ok ? parsed.config.stateDir : (await loadConfig(path)).config.stateDir
}

/** What a file that may be no TOML says of it: its top is before the first table. */
function stateDirIn(text: string): unknown {
  try {
    return parse(text)['state-dir']
  } catch {
    const [top = ''] = text.split(/^\s*\[/m)
    const [line = ''] = /^\s*state-dir\s*=.*$/m.exec(top) ?? []
    return line === '' ? undefined : parse(line)['state-dir']
  }
}

async function readText(path: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path))
  } catch (cause) {
    const why = cause instanceof TypeError ? 'it is not UTF-8' : reasonOf(cause)
    throw new ConfigError(path, [{ key: '', line: 0, message: `cannot read the configuration: ${why}` }], { cause })
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a directory',
}

function reasonOf(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return REASONS[code] ?? String(cause)
}

function parseToml(path: string, text: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause
    const [first = ''] = cause.message.split('\n')
    const message = `not TOML: ${first.replace(/^Invalid TOML document: /, '')} (column ${cause.column})`
    throw new ConfigError(path, [{ key: '', line: cause.line, message }], { cause })
  }
}
