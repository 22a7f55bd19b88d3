// xengate reload, upgrade, drain: the daemon of this host takes its configuration, or its program, as it is now, or goes out of service.

import { haveDaemon } from '../daemon.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { stateDirectory, type StateOptions } from '../state.ts'
import { certificateLines, connectionLines } from './control.ts'

/** How an act is asked for, and what came of it shown. */
export interface ActOptions extends StateOptions {
  readonly json?: boolean
}

/** @throws {CliError} `reload-refused` when the configuration cannot be taken: the earlier one stays in force */
export async function reload({ json = false, ...options }: ActOptions, io: Io): Promise<number> {
  const { isDone, said } = await haveDaemon(await stateDirectory(options, io), '/reload')
  if (!isDone) throw new CliError('reload-refused', String(said['message']))
  if (json) {
    print(io, JSON.stringify(said, null, 2))
    return EXIT.ok
  }
  const changed = Array.isArray(said['changed']) ? said['changed'].join(', ') : ''
  print(
    io,
    changed === ''
      ? 'the configuration has not changed'
      : `in force: ${changed} (${WORKERS[String(said['workers'])] ?? ''})`,
  )
  for (const line of certificateLines(said['certificates'])) print(io, `certificate ${line}`)
  return EXIT.ok
}

const WORKERS: Readonly<Record<string, string>> = {
  told: 'in the workers that run',
  new: 'with new workers',
}

/** @throws {CliError} `upgrade-refused` when the program that is there now does not serve: the earlier one serves on */
export async function upgrade({ json = false, ...options }: ActOptions, io: Io): Promise<number> {
  const { isDone, said } = await haveDaemon(await stateDirectory(options, io), '/upgrade')
  if (!isDone) throw new CliError('upgrade-refused', String(said['message']))
  const words = `version ${String(said['version'])} serves, process ${String(said['pid'])}`
  print(io, json ? JSON.stringify(said, null, 2) : words)
  return EXIT.ok
}

/** How a daemon is taken out of service. */
export interface DrainOptions extends ActOptions {
  readonly undo?: boolean
}

/** Longer than any drain-timeout that somebody waits for: the daemon says when it is over. */
const DRAIN_WAIT_MS = 86_400_000

/** @throws {CliError} `drain-refused` when the daemon stops, or somebody puts it in service again meanwhile */
export async function drain({ undo = false, json = false, ...options }: DrainOptions, io: Io): Promise<number> {
  const path = undo ? '/drain/undo' : '/drain'
  const { isDone, said } = await haveDaemon(await stateDirectory(options, io), path, DRAIN_WAIT_MS)
  if (!isDone) throw new CliError('drain-refused', String(said['message']))
  if (json) print(io, JSON.stringify(said, null, 2))
  else if (undo) print(io, 'in service again')
  else if (said['drained'] === true) print(io, 'out of service, and nothing runs any more')
  else {
    for (const line of connectionLines(said['running'])) print(io, line)
    for (const pid of Array.isArray(said['earlierPids']) ? said['earlierPids'] : [])
      say(io, `the earlier process ${pid} still finishes what it had at the upgrade`)
  }
  if (undo || said['drained'] === true) return EXIT.ok
  say(io, 'out of service, but this still runs: wait with xengate drain, or end it with xengate connection end')
  return EXIT.failed
}
