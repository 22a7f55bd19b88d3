// Every command with its options and help. A command's own code is loaded when it runs.

import { Command, InvalidArgumentError, Option } from 'commander'
import { parsePort } from '../config/addresses.ts'
import { ROLES } from '../sessions/session.ts'
import { type PasswordOptions } from './commands/user.ts'
import { type Io } from './io.ts'
import { type StateOptions } from './state.ts'
import { version } from '../version.ts'

/** Takes the exit code of the command that ran. */
export type OnExit = (code: number) => void

/** The whole command line. Commander's own output goes to `io`, and its exits become exceptions. */
export function createProgram(io: Io, onExit: OnExit): Command {
  const program = new Command('xengate')
    .description('Authenticated HTTP access to custom services on a XenServer or XCP-ng host')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [COMMAND]', 'print the help of a command')
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
        'xengate user add alice --role pool-admin',
      ),
    )
  addDev(program, io, onExit)
  addServe(program, io, onExit)
  addCheckConfig(program, io, onExit)
  addConfigSchema(program, io, onExit)
  addUser(program, io, onExit)
  return program
}

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}`
}

function configOption(): Option {
  return new Option('--config <FILE>', 'the configuration, a TOML file (default: /etc/xengate/xengate.toml)')
}

function addDev(program: Command, io: Io, onExit: OnExit): void {
  program
    .command('dev')
    .summary('run a gateway with everything embedded, to try it')
    .description(
      'Runs a gateway with its own users and sessions, and a demo service. The user root gets a generated password, which ' +
        'is kept in DIR/password. A service of yours takes part when it listens on a Unix socket in DIR/plugin that is ' +
        'named after it.',
    )
    .option('--port <PORT>', 'port on 127.0.0.1; 0 lets the system choose', portArgument, 8080)
    .option('--state <DIR>', 'where everything is kept (default: .xengate)')
    .addHelpText('after', examples('xengate dev', 'xengate dev --port 0 --state /tmp/gate'))
    .action(async (options: { port: number; state?: string }) => {
      const { dev } = await import('./commands/dev.ts')
      onExit(await dev(options, io))
    })
}

function portArgument(text: string): number {
  const port = parsePort(text)
  if (port === undefined) throw new InvalidArgumentError('It must be a number from 0 to 65535.')
  return port
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
        'files that it names included. Warns of what may not be meant so. Exits 0 when there are warnings at most.',
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

function addUser(program: Command, io: Io, onExit: OnExit): void {
  const user = program
    .command('user')
    .summary('add, change, remove and list users')
    .description(
      'Works on the users of the embedded authority, or of the authority valkey, while the daemon runs or not. Without --config and --state it takes ' +
        'the .xengate that "xengate dev" made here.',
    )
    .addHelpText(
      'after',
      examples(
        'xengate user add alice --role pool-operator --config /etc/xengate/xengate.toml',
        'xengate user list --json',
      ),
    )
  addUserWithPassword(user, io, onExit)
  withState(user.command('remove').argument('<NAME>').description('remove a user, and end its sessions'))
    .addHelpText('after', examples('xengate user remove alice --state .xengate'))
    .action(async (name: string, options: StateOptions) => {
      const { removeUser } = await import('./commands/user.ts')
      onExit(await removeUser(name, options, io))
    })
  withState(user.command('list').description('list the users and their roles'))
    .option('--json', 'print an array with name, role, uuid and time of creation')
    .addHelpText('after', examples('xengate user list', 'xengate user list --json | jq -r ".[].name"'))
    .action(async (options: StateOptions & { json?: boolean }) => {
      const { listUsers } = await import('./commands/user.ts')
      onExit(await listUsers(options, io))
    })
}

function addUserWithPassword(user: Command, io: Io, onExit: OnExit): void {
  withPassword(user.command('add'), 'add a user; the role is read-only unless given')
    .addHelpText(
      'after',
      examples('xengate user add alice --role pool-admin', 'xengate user add ci --password-stdin < password.txt'),
    )
    .action(async (name: string, options: PasswordOptions) => {
      const { addUser: add } = await import('./commands/user.ts')
      onExit(await add(name, options, io))
    })
  withPassword(
    user.command('passwd'),
    "change a user's password: its sessions go on; with --role the role too: its sessions end",
  )
    .addHelpText(
      'after',
      examples('xengate user passwd alice', 'xengate user passwd ci --password-stdin < password.txt'),
    )
    .action(async (name: string, options: PasswordOptions) => {
      const { setUserPassword } = await import('./commands/user.ts')
      onExit(await setUserPassword(name, options, io))
    })
}

function withPassword(command: Command, description: string): Command {
  return withState(command.argument('<NAME>').description(description))
    .addOption(new Option('--role <ROLE>', 'a higher role includes the lower ones').choices([...ROLES]))
    .option('--password-stdin', 'read the password from standard input; otherwise it is asked for')
}

function withState(command: Command): Command {
  return command
    .addOption(configOption().conflicts('state'))
    .option('--state <DIR>', 'the state directory (default: .xengate)')
}
