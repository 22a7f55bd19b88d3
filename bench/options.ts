// The benchmark's command line.

import { parseArgs } from 'node:util'

/** What is run, and for how long. */
export interface Options {
  readonly isQuick: boolean
  /** Names of cases; null: all. */
  readonly cases: readonly string[] | null
  /** Names of peers; null: all. */
  readonly peers: readonly string[] | null
  readonly rounds: number
  /** Of one measurement. */
  readonly seconds: number
  /** Of the load before a measurement. */
  readonly warmSeconds: number
  readonly bulkBytes: number
  readonly idleConnections: number
  /** Live sessions, from the fewest to the most. */
  readonly sessionCounts: readonly number[]
  /** Whether what is measured goes into the results of the last whole run. */
  readonly isUpdate: boolean
  readonly isHelp: boolean
}

/** The command line is wrong: the text says how. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export const HELP = `npm run bench -- [options]

  --quick              everything once and short, in a few minutes; its numbers prove nothing
  --rounds N           rounds of each measurement (default 5; with --quick 1)
  --seconds N          seconds of each measurement (default 3; with --quick half a second, or 1 where it is wrk's)
  --only CASE,…        these cases only
  --peers PEER,…       these peers only
  --update             what is measured replaces its rows in the results of the last whole run
  --help               this text
`

const MIB = 1024 * 1024

/** Reads `argv`. @throws {UsageError} */
export function readOptions(
  argv: readonly string[],
  known: { readonly cases: readonly string[]; readonly peers: readonly string[] },
): Options {
  const values = parse(argv)
  const isQuick = values.quick === true
  const seconds = number('--seconds', values.seconds, isQuick ? 0.5 : 3, 600)
  return {
    isQuick,
    cases: list('--only', values.only, known.cases),
    peers: list('--peers', values.peers, known.peers),
    rounds: number('--rounds', values.rounds, isQuick ? 1 : 5, 100),
    seconds,
    warmSeconds: isQuick ? 0.3 : 1,
    bulkBytes: isQuick ? 64 * MIB : 1024 * MIB,
    idleConnections: isQuick ? 2000 : 10_000,
    sessionCounts: isQuick ? [1, 1000, 10_000] : [1, 10_000, 1_000_000],
    isUpdate: values.update === true,
    isHelp: values.help === true,
  }
}

interface Values {
  readonly quick?: boolean | undefined
  readonly only?: string | undefined
  readonly peers?: string | undefined
  readonly rounds?: string | undefined
  readonly seconds?: string | undefined
  readonly update?: boolean | undefined
  readonly help?: boolean | undefined
}

function parse(argv: readonly string[]): Values {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        quick: { type: 'boolean' },
        only: { type: 'string' },
        peers: { type: 'string' },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        update: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

function number(option: string, text: string | undefined, fallback: number, most: number): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < 1 || value > most) {
    throw new UsageError(`${option} must be a whole number from 1 to ${most}; it is "${text}"`)
  }
  return value
}

function list(option: string, text: string | undefined, known: readonly string[]): readonly string[] | null {
  if (text === undefined) return null
  const names = text.split(',').filter((name) => name !== '')
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined || names.length === 0) {
    throw new UsageError(`${option} must name some of ${known.join(', ')}; it has "${unknown ?? text}"`)
  }
  return names
}
