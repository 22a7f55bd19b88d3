// npm run package: makes the packages of the checkout. CONTRIBUTING.md says how to use them.

import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { howToInstall, missingOf, PACKAGING_NEEDS } from '../scripts/system-packages.ts'
import { FORMATS, type Format, isFormat, makePackages } from './packages.ts'

const USAGE = `usage: npm run package -- [--format ${FORMATS.join(',')}] [--runtime DIR] [--sign KEYID] [--out DIR]

  --format   what to make, with commas between; default: all of it
  --runtime  a Node.js 26 directory, with bin/node, in place of the checkout's
  --sign     an RSA key of gpg: signs the RPMs, the repository and the pack
  --out      where to put it; default: dist
`

class UsageError extends Error {}

interface Arguments {
  readonly formats: readonly Format[]
  readonly runtime: string | undefined
  readonly sign: string | undefined
  readonly out: string
}

process.exitCode = await main(process.argv.slice(2))

/** @returns the exit code: 0 made, 1 it failed, 2 used wrongly */
async function main(argv: readonly string[]): Promise<number> {
  try {
    if (argv.includes('--help') || argv.includes('-h')) {
      process.stdout.write(USAGE)
      return 0
    }
    const { formats, ...options } = readArguments(argv)
    const missing = missingOf(PACKAGING_NEEDS)
    if (missing.length > 0) throw new Error(howToInstall(missing, 'The packages'))
    for (const path of await makePackages(formats, options)) process.stdout.write(`${path}\n`)
    const isForHosts = formats.some((format) => format === 'yum' || format === 'pack')
    if (isForHosts && options.sign === undefined) {
      process.stderr.write(
        'not signed: hosts do not take the pack, nor the repository as it is; sign with --sign KEYID\n',
      )
    }
    return 0
  } catch (error) {
    const isUsage = error instanceof UsageError
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${isUsage ? `\n${USAGE}` : ''}`)
    return isUsage ? 2 : 1
  }
}

function readArguments(argv: readonly string[]): Arguments {
  const { format = FORMATS.join(','), runtime, sign, out = 'dist' } = parse(argv)
  const formats = format.split(',').map((name) => {
    if (!isFormat(name)) throw new UsageError(`there is no format "${name}"`)
    return name
  })
  if (runtime !== undefined && !existsSync(runtime)) throw new UsageError(`there is no directory ${runtime}`)
  return { formats, runtime: runtime === undefined ? undefined : resolve(runtime), sign, out: resolve(out) }
}

function parse(argv: readonly string[]): { format?: string; runtime?: string; sign?: string; out?: string } {
  const text = { type: 'string' } as const
  try {
    return parseArgs({ args: [...argv], options: { format: text, runtime: text, sign: text, out: text } }).values
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}
