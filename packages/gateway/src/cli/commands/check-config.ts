// xengate check-config: says what is wrong with a configuration, and what may not be meant as it stands there.

import { ConfigError, type ConfigProblem } from '../../config/load.ts'
import { chooseTransport } from '../../transport/choose.ts'
import { configPath, loadChecked } from '../checked-config.ts'
import { EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'

interface Found extends ConfigProblem {
  readonly severity: 'error' | 'warning'
}

export async function checkConfig(
  options: { readonly config?: string; readonly json?: boolean },
  io: Io,
): Promise<number> {
  const path = configPath(options.config, io)
  const { problems: found, transport } = await findIn(path)
  const shown = options.config ?? path
  if (options.json === true) print(io, JSON.stringify(found, null, 2))
  for (const { line, message, severity } of found) {
    say(io, `${line === 0 ? shown : `${shown}:${line}`}: ${severity === 'warning' ? 'warning: ' : ''}${message}`)
  }
  if (found.some(({ severity }) => severity === 'error')) return EXIT.failed
  say(io, `transport: ${transport}`)
  say(io, `${shown}: valid`)
  return EXIT.ok
}

async function findIn(path: string): Promise<{ readonly problems: Found[]; readonly transport: string }> {
  try {
    const { config, doubts, descriptorDoubts } = await loadChecked(path)
    const { transport, reason } = await chooseTransport(config.transport)
    const problems = [...doubts, ...descriptorDoubts].map((problem) => ({ ...problem, severity: 'warning' as const }))
    return { problems, transport: `${transport.name} (${reason})` }
  } catch (error) {
    if (error instanceof ConfigError) {
      return { problems: error.problems.map((problem) => ({ ...problem, severity: 'error' })), transport: '' }
    }
    throw error
  }
}
