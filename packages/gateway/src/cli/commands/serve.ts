// xengate serve: the daemon.

import { resolve } from 'node:path'
import { loadConfig } from '../../config/load.ts'
import { createLog } from '../../logging/log.ts'
import { startPrimary } from '../../process/primary.ts'
import { type Io, print } from '../io.ts'

export async function serve(options: { readonly config: string }, io: Io): Promise<number> {
  const path = resolve(io.cwd, options.config)
  const config = await loadConfig(path)
  const log = createLog(config.log)
  const primary = await startPrimary({
    config,
    log,
    reload: () => loadConfig(path),
    print: (line) => print(io, line),
  })
  return primary.stopped
}
