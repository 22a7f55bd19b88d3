// xengate show-config: a configuration as it may be given to others.

import { ConfigError, loadConfig } from '../../config/load.ts'
import { shownConfig } from '../../config/shown.ts'
import { configPath } from '../checked-config.ts'
import { EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'

export async function showConfig(options: { readonly config?: string }, io: Io): Promise<number> {
  const path = configPath(options.config, io)
  try {
    const { input } = await loadConfig(path)
    print(io, shownConfig(input).trimEnd())
    return EXIT.ok
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    // What is wrong may be a secret at another place: neither values nor what is said of them.
    for (const { key, line, message } of error.problems) {
      // That the file cannot be read is none of what is in it.
      if (line === 0 && key === '') say(io, `${path}: ${message}`)
      else say(io, `${path}:${line}: not valid${key === '' ? '' : `: ${key}`}`)
    }
    return EXIT.failed
  }
}
