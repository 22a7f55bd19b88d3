// xengate reload, upgrade: the daemon of this host takes its configuration, or its program, as it is now.

import { haveDaemon } from '../daemon.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, print } from '../io.ts'
import { stateDirectory, type StateOptions } from '../state.ts'

/** @throws {CliError} `reload-refused` when the configuration cannot be taken: the earlier one stays in force */
export async function reload(options: StateOptions, io: Io): Promise<number> {
  const { isDone, said } = await haveDaemon(await stateDirectory(options, io), '/reload')
  if (!isDone) throw new CliError('reload-refused', String(said['message']))
  const changed = Array.isArray(said['changed']) ? said['changed'].join(', ') : ''
  print(io, changed === '' ? 'nothing has changed' : `in force: ${changed} (${WORKERS[String(said['workers'])] ?? ''})`)
  return EXIT.ok
}

const WORKERS: Readonly<Record<string, string>> = {
  told: 'in the workers that run',
  new: 'with new workers',
}

/** @throws {CliError} `upgrade-refused` when the program that is there now does not serve: the earlier one serves on */
export async function upgrade(options: StateOptions, io: Io): Promise<number> {
  const { isDone, said } = await haveDaemon(await stateDirectory(options, io), '/upgrade')
  if (!isDone) throw new CliError('upgrade-refused', String(said['message']))
  print(io, `version ${String(said['version'])} serves, process ${String(said['pid'])}`)
  return EXIT.ok
}
