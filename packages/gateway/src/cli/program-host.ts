// The commands for a XenServer or XCP-ng host, with their options and help.

import { type Command, Option } from 'commander'
import type { FrontOptions } from './commands/front.ts'
import type { CheckOptions, RestoreOptions, SaveOptions } from './commands/host.ts'
import type { Io } from './io.ts'
import { configOption, examples, type OnExit, portFrom } from './option.ts'

export function addHostCommands(program: Command, io: Io, onExit: OnExit): void {
  addFront(program, io, onExit)
  const host = program
    .command('host')
    .summary('look at a XenServer or XCP-ng host, open ports, keep the configuration over an upgrade')
    .helpCommand(false)
    .addHelpText('after', examples('xengate host check', 'xengate host open-port 8443', 'xengate host save'))
  addCheck(host, io, onExit)
  addPorts(host, io, onExit)
  addSaved(host, io, onExit)
}

function addFront(program: Command, io: Io, onExit: OnExit): void {
  const front = program
    .command('front')
    .summary("put Xengate before xapi at the host's port 443, or take it away")
    .description(
      'Has stunnel of this host, which ends TLS for xapi at port 443, ask Xengate first, and xapi when Xengate does not answer. ' +
        'Port, certificates, firewall and what hosts of the pool say to each other stay as they are.',
    )
    .helpCommand(false)
    .addHelpText('after', examples('xengate front status', 'xengate front enable', 'xengate front disable'))
  front
    .command('enable')
    .summary('have stunnel ask Xengate first')
    .description(
      'Looks whether all is ready, writes a drop-in of stunnel@xapi.service, restarts stunnel and asks at the port. What does not ' +
        'work is taken back. Connections by TLS that are open end; xapi is not restarted.',
    )
    .option('--yes', 'go on although high availability (HA) is on')
    .addOption(configOption())
    .addHelpText('after', examples('xengate front enable', 'xengate front enable --yes'))
    .action(async (options: FrontOptions) => {
      const { enable } = await import('./commands/front.ts')
      onExit(await enable(options, io))
    })
  front
    .command('disable')
    .summary('give stunnel back to xapi alone')
    .description(
      'Removes the drop-in, and restarts stunnel. Needs neither the daemon nor a valid configuration, and does nothing when it is off.',
    )
    .addOption(noQuestion())
    .addHelpText('after', examples('xengate front disable'))
    .action(async (options: FrontOptions) => {
      const { disable } = await import('./commands/front.ts')
      onExit(await disable(options, io))
    })
  front
    .command('status')
    .summary('what is true now, and what enable and disable would change')
    .description(
      'Says what is true now, and what enable and disable would change. Exits 0 when services are reached at the port, 1 otherwise.',
    )
    .option('--json', 'print an object with on, findings and changes')
    .addOption(noQuestion())
    .addOption(configOption())
    .addHelpText('after', examples('xengate front status', 'xengate front status --json | jq .on'))
    .action(async (options: FrontOptions) => {
      const { status } = await import('./commands/front.ts')
      onExit(await status(options, io))
    })
}

/** For scripts that say it to every command. */
function noQuestion(): Option {
  return new Option('--yes', 'without effect: nothing is asked').hideHelp()
}

function addCheck(host: Command, io: Io, onExit: OnExit): void {
  host
    .command('check')
    .summary('describe this host, and what would prevent a gateway on it')
    .description(
      'Says what this host is and what is in the way of a gateway, with what to do about it. Changes nothing. Run it as root, so ' +
        'that it can try what the user xengate may do. Exits 1 when something is bad.',
    )
    .option('--json', 'print an object with ok and findings: subject, verdict (ok, doubt or bad), text and remedy')
    .addOption(configOption())
    .addHelpText('after', examples('xengate host check', 'xengate host check --json | jq .ok'))
    .action(async (options: CheckOptions) => {
      const { check } = await import('./commands/host.ts')
      onExit(await check(options, io))
    })
}

function addPorts(host: Command, io: Io, onExit: OnExit): void {
  host
    .command('open-port')
    .summary('open a port in the firewall of this host')
    .argument('<PORT>', 'a TCP port', portFrom(1))
    .description(
      'Opens a port in the firewall of this host, by firewalld or by the plugin that xapi has for iptables, now and after a restart.',
    )
    .addHelpText('after', examples('xengate host open-port 8443'))
    .action(async (port: number) => {
      const { open } = await import('./commands/host.ts')
      onExit(await open(port, io))
    })
  host
    .command('close-port')
    .summary('close a port that open-port opened')
    .argument('[PORT]', 'a TCP port that open-port opened', portFrom(1))
    .addOption(new Option('--all', 'every port that open-port opened'))
    .description('Closes a port that open-port opened, and no other.')
    .addHelpText('after', examples('xengate host close-port 8443', 'xengate host close-port --all'))
    .action(async (port: number | undefined, { all }: { all?: boolean }, command: Command) => {
      if ((port === undefined) === (all === undefined)) command.error("error: give either a port or '--all'")
      const { close } = await import('./commands/host.ts')
      onExit(await close(port ?? null, io))
    })
}

function addSaved(host: Command, io: Io, onExit: OnExit): void {
  host
    .command('save')
    .summary('keep the configuration in the pool, over an upgrade by ISO')
    .description(
      "Keeps the configuration in the pool's record in xapi, which an upgrade of the host by ISO leaves alone. Comments " +
        'are not kept, nor are files that it names, as certificates and passwords; a configuration with a password in it is refused.',
    )
    .option('--pool', 'for all hosts of the pool; default: for this one')
    .addOption(configOption())
    .addHelpText('after', examples('xengate host save', 'xengate host save --pool'))
    .action(async (options: SaveOptions) => {
      const { save } = await import('./commands/host.ts')
      onExit(await save(options, io))
    })
  host
    .command('restore')
    .summary('write the configuration as it was kept')
    .description('Writes the configuration as "xengate host save" kept it: for this host, or else for the pool.')
    .option('--force', 'over the configuration that is there')
    .addOption(configOption())
    .addHelpText('after', examples('xengate host restore', 'xengate host restore --force'))
    .action(async (options: RestoreOptions) => {
      const { restore } = await import('./commands/host.ts')
      onExit(await restore(options, io))
    })
}
