// The commands that have the running daemon of this host change, with their options and help.

import type { Command } from 'commander'
import type { ActOptions, DrainOptions } from './commands/change.ts'
import type { Io } from './io.ts'
import { examples, GROUP, type OnExit, withOwnState } from './option.ts'

const JSON_OPTION = ['--json', 'print what came of it as JSON'] as const

export function addChange(program: Command, io: Io, onExit: OnExit): void {
  program.commandsGroup(GROUP.act)
  withOwnState(program.command('reload').summary('take a configuration, or a certificate, that was changed'))
    .description(
      'Has the daemon of this host take its configuration, and the certificates that it names, as they are now, as SIGHUP does. Returns when that is in ' +
        'force in every worker; when it cannot be taken it says why, exits 1, and the earlier one stays in force.',
    )
    .option(...JSON_OPTION)
    .addHelpText('after', examples('xengate reload', 'xengate reload --config /etc/xengate/xengate.toml'))
    .action(async (options: ActOptions) => {
      const { reload } = await import('./commands/change.ts')
      onExit(await reload(options, io))
    })
  withOwnState(
    program
      .command('upgrade')
      .summary('have the version that is on disk now take over: a newer one, or an earlier one again'),
  )
    .description(
      'Replaces the running daemon of this host by the version on disk, as SIGUSR2 does: it is started beside the one that runs, gets its ' +
        'listening sockets, and when it serves the earlier one finishes what is under way, and ends. Returns when it serves; when it does ' +
        'not, says why, exits 1, and the earlier one serves on. To go back, install the earlier version, and give the command again. Also a restart that ' +
        'no client notices.',
    )
    .option(...JSON_OPTION)
    .addHelpText('after', examples('xengate upgrade', 'xengate upgrade --config /etc/xengate/xengate.toml'))
    .action(async (options: ActOptions) => {
      const { upgrade } = await import('./commands/change.ts')
      onExit(await upgrade(options, io))
    })
  addDrain(program, io, onExit)
}

function addDrain(program: Command, io: Io, onExit: OnExit): void {
  withOwnState(program.command('drain').summary('take the daemon out of service; with --undo put it in service again'))
    .description(
      'Takes the daemon of this host out of service: GET /healthz answers 503 from then on, other hosts of the pool send nobody here, and no connection ' +
        'is kept beyond its next response. What still comes is served, and nothing is cut. Returns when nothing runs any more; what still runs ' +
        'after limits.drain-timeout it lists, and exits 1. The daemon runs on until it is stopped, restarted or put in service again.',
    )
    .option('--undo', 'put it in service again')
    .option(...JSON_OPTION)
    .addHelpText('after', examples('xengate drain && systemctl stop xengate', 'xengate drain --undo'))
    .action(async (options: DrainOptions) => {
      const { drain } = await import('./commands/change.ts')
      onExit(await drain(options, io))
    })
}
