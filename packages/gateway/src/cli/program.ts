// Every command with its options and help. A command's own code is loaded when it runs.

import { Argument, Command, Option } from 'commander'
import { completionOf, type Shell, SHELLS } from './completion.ts'
import { addAccounts } from './program-accounts.ts'
import { addCalls } from './program-call.ts'
import { addChange } from './program-change.ts'
import { addControl } from './program-control.ts'
import { addHostCommands } from './program-host.ts'
import { addNew } from './program-new.ts'
import { addPlugins } from './program-plugins.ts'
import type { Io } from './io.ts'
import { version } from '../version.ts'
import { configOption, examples, GROUP, type OnExit, portFrom } from './option.ts'

/** The whole command line. Commander's own output goes to `io`, and its exits become exceptions. */
export function createProgram(io: Io, onExit: OnExit): Command {
  const program = new Command('xengate')
    .description('Authenticated HTTP access to custom services on a XenServer or XCP-ng host')
    .version(`${version()} (Node.js ${process.version})`, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .exitOverride()
    .showHelpAfterError()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      getOutHelpWidth: () => io.stdout.columns ?? 80,
      getErrHelpWidth: () => io.stderr.columns ?? 80,
    })
    .addHelpText(
      'after',
      examples(
        'xengate dev',
        'xengate serve --config /etc/xengate/xengate.toml',
        'xengate status',
        'xengate check-config && xengate reload    # after a limit, or anything else, was changed in the configuration',
        'xengate help session end',
      ),
    )
  program.commandsGroup(GROUP.run)
  addDev(program, io, onExit)
  addServe(program, io, onExit)
  addControl(program, io, onExit)
  addAccounts(program, io, onExit)
  addChange(program, io, onExit)
  program.commandsGroup(GROUP.configure)
  addCheckConfig(program, io, onExit)
  addShowConfig(program, io, onExit)
  addConfigSchema(program, io, onExit)
  program.commandsGroup(GROUP.call)
  addCalls(program, io, onExit)
  program.commandsGroup(GROUP.host)
  addHostCommands(program, io, onExit)
  addPlugins(program, io, onExit)
  program.commandsGroup(GROUP.more)
  addNew(program, io, onExit)
  addCompletion(program, io)
  addHelp(program)
  return program
}

function addDev(program: Command, io: Io, onExit: OnExit): void {
  program
    .command('dev')
    .summary('run a gateway with everything embedded, to try it')
    .description(
      'Runs a gateway with its own users and sessions, and a demo service. The user root gets a generated password, which ' +
        'is kept in DIR/password. To try your own service, let it listen on DIR/plugin/<service name>.',
    )
    .option('--port <PORT>', 'port on 127.0.0.1; 0 lets the system choose', portFrom(0), 8080)
    .option('--state <DIR>', 'where everything is kept (default: .xengate)')
    .addHelpText('after', examples('xengate dev', 'xengate dev --port 0 --state /tmp/gate'))
    .action(async (options: { port: number; state?: string }) => {
      const { dev } = await import('./commands/dev.ts')
      onExit(await dev(options, io))
    })
}

function addServe(program: Command, io: Io, onExit: OnExit): void {
  program
    .command('serve')
    .summary('run the daemon')
    .description(
      'Runs the daemon, which prints "xengate ready at ..." for each listener. SIGTERM and SIGINT finish what is under way ' +
        'and stop; a second one stops at once. SIGHUP reloads the configuration; one that is not valid changes nothing.',
    )
    .addOption(configOption())
    .addHelpText('after', examples('xengate serve --config /etc/xengate/xengate.toml'))
    .action(async (options: { config?: string }) => {
      const { serve } = await import('./commands/serve.ts')
      onExit(await serve(options, io))
    })
}

function addCheckConfig(program: Command, io: Io, onExit: OnExit): void {
  program
    .command('check-config')
    .summary('say what is wrong with a configuration')
    .description(
      'Says all that is wrong with a configuration, each with its key and line: everything for which "serve" would not start, the ' +
        'files that it names included. Warns of what is probably a mistake. Exits 0 when there are warnings at most.',
    )
    .addOption(configOption())
    .option('--json', 'print an array of problems on standard output, each with its severity: error or warning')
    .addHelpText(
      'after',
      examples('xengate check-config --config xengate.toml', 'xengate check-config --config xengate.toml --json'),
    )
    .action(async (options: { config?: string; json?: boolean }) => {
      const { checkConfig } = await import('./commands/check-config.ts')
      onExit(await checkConfig(options, io))
    })
}

function addShowConfig(program: Command, io: Io, onExit: OnExit): void {
  program
    .command('show-config')
    .summary('print a configuration without its secrets')
    .description(
      'Prints what stands in a configuration, for others to read: without comments, and with (blanked) in place of the password in ' +
        'valkey.url. Of one that is not valid it prints which keys are not, and no values.',
    )
    .addOption(configOption())
    .addHelpText('after', examples('xengate show-config', 'xengate show-config --config xengate.toml'))
    .action(async (options: { config?: string }) => {
      const { showConfig } = await import('./commands/show-config.ts')
      onExit(await showConfig(options, io))
    })
}

function addConfigSchema(program: Command, io: Io, onExit: OnExit): void {
  program
    .command('config-schema')
    .summary('print what a configuration may hold')
    .description('Prints the JSON Schema of the configuration, or the same as a file or a page.')
    .addOption(new Option('--sample', 'print a configuration with every option').conflicts('reference'))
    .option('--reference', 'print the reference page, in Markdown')
    .addHelpText(
      'after',
      examples('xengate config-schema > xengate.schema.json', 'xengate config-schema --sample > xengate.toml'),
    )
    .action(async (options: { sample?: boolean; reference?: boolean }) => {
      const { configSchema } = await import('./commands/config-schema.ts')
      onExit(configSchema(options, io))
    })
}

function addCompletion(program: Command, io: Io): void {
  program
    .command('completion')
    .addArgument(new Argument('<SHELL>', 'the shell that is to complete').choices([...SHELLS]))
    .summary('print what makes a shell complete this command')
    .description(
      'Prints a script that makes a shell complete commands and options. The packages have it where shells look for it.',
    )
    .addHelpText(
      'after',
      examples(
        'source <(xengate completion bash)',
        'source <(xengate completion zsh)',
        'xengate completion fish > ~/.config/fish/completions/xengate.fish',
      ),
    )
    .action((shell: Shell) => {
      io.stdout.write(completionOf(shell, program))
    })
}

/** Commander's own takes the first word only. */
function addHelp(program: Command): void {
  program
    .command('help')
    .argument('[COMMAND...]')
    .description('print the help of a command')
    .addHelpText('after', examples('xengate help serve', 'xengate help user add'))
    .action((names: readonly string[]) => {
      let command = program
      for (const name of names) {
        const found = command.commands.find((one) => one.name() === name)
        if (found === undefined) command.error(`error: unknown command '${name}'`)
        command = found ?? command
      }
      command.outputHelp()
    })
}
