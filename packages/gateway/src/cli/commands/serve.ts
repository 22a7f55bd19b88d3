// xengate serve: the daemon.

import type { ConfigProblem } from '../../config/load.ts'
import type { Config } from '../../config/config.ts'
import { createLog, type Log } from '../../logging/log.ts'
import { Predecessor } from '../../process/predecessor.ts'
import { startPrimary } from '../../process/primary.ts'
import { sockets } from '../../process/sockets.ts'
import { configPath, loadChecked } from '../checked-config.ts'
import { type Io, print, say, sayer } from '../io.ts'

export async function serve(options: { readonly config?: string }, io: Io): Promise<number> {
  sockets.giveFromManager(process.env)
  const predecessor = await Predecessor.of(process)
  try {
    return await serveAs(predecessor, options, io)
  } catch (error) {
    await predecessor?.failed(error)
    throw error
  }
}

async function serveAs(
  predecessor: Predecessor | null,
  options: { readonly config?: string },
  io: Io,
): Promise<number> {
  const path = configPath(options.config, io)
  const { config, doubts } = await loadChecked(path)
  const log = createLog(config.log)
  warn(log, doubts)
  const reload = async (): Promise<Config> => {
    const checked = await loadChecked(path)
    warn(log, checked.doubts)
    return checked.config
  }
  // What is no terminal gets the log alone, which is JSON from its first line; `started` has the same in it.
  const ready = (line: string): void => (io.stdout.isTTY === true ? print(io, line) : say(io, line))
  const primary = await startPrimary({ config, configPath: path, log, reload, predecessor, print: ready, ...sayer(io) })
  return primary.stopped
}

function warn(log: Log, doubts: readonly ConfigProblem[]): void {
  for (const { key, line, message } of doubts) log.warn({ event: 'config-doubtful', key, line, problem: message })
}
