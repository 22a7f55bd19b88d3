// The commands for users and sessions, with their options and help.

import { Argument, type Command, Option } from 'commander'
import { type Role, ROLES } from '../model/role.ts'
import type { UnblockOptions } from './commands/blocked.ts'
import type { SessionsOptions } from './commands/sessions.ts'
import type { PasswordOptions } from './commands/user.ts'
import type { ControlOptions } from './control.ts'
import type { Io } from './io.ts'
import { withControl } from './program-control.ts'
import { examples, GROUP, type OnExit, withOwnState, withState } from './option.ts'
import type { StateOptions } from './state.ts'

const WHERE =
  'Without --config and --state it takes the .xengate that "xengate dev" made here, or else the configuration of this host.'

export function addAccounts(program: Command, io: Io, onExit: OnExit): void {
  addUsers(program, io, onExit)
  addSessions(program, io, onExit)
  addBlocked(program, io, onExit)
}

function addUsers(program: Command, io: Io, onExit: OnExit): void {
  const user = program
    .command('user')
    .helpGroup(GROUP.configure)
    .summary('add, change, remove and list users')
    .description(
      `Manages users in the state directory or in Valkey; the daemon need not run, and logs what is changed if it does. ${WHERE}`,
    )
    // The command that was meant is in the help that follows; the nearest name may be one that destroys.
    .showSuggestionAfterError(false)
    .helpCommand(false)
    .addHelpText('after', examples('xengate user add alice --role pool-operator', 'xengate user list --json'))
  addUserWithPassword(user, io, onExit)
  withState(user.command('remove').argument('<NAME>').description('remove a user, and end its sessions'))
    .addHelpText('after', examples('xengate user remove alice --state .xengate'))
    .action(async (name: string, options: StateOptions) => {
      const { removeUser } = await import('./commands/user.ts')
      onExit(await removeUser(name, options, io))
    })
  withState(user.command('set-role').description('give a user another role, and end its sessions'))
    .argument('<NAME>')
    .addArgument(new Argument('<ROLE>', 'a higher role includes the lower ones').choices([...ROLES]))
    .addHelpText('after', examples('xengate user set-role alice pool-operator'))
    .action(async (name: string, role: Role, options: StateOptions) => {
      const { setUserRole } = await import('./commands/user.ts')
      onExit(await setUserRole(name, role, options, io))
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
    "change a user's password; its sessions go on, unless they are ended or the role is changed too",
  )
    .option('--end-sessions', 'end all sessions of the user')
    .addHelpText(
      'after',
      examples('xengate user passwd alice --end-sessions', 'xengate user passwd ci --password-stdin < password.txt'),
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

function addSessions(program: Command, io: Io, onExit: OnExit): void {
  withControl(program.command('sessions').helpGroup(GROUP.see).summary('list who is signed in'))
    .description(
      `Lists the sessions in the state directory or in Valkey, oldest first; the daemon need not run, and tells what runs under them if it does. ${WHERE}`,
    )
    .addOption(new Option('--json', 'print an array').conflicts('minimal'))
    .option('--minimal', 'print the ids alone, in one line with commas between')
    .option('--watch', 'show it again every two seconds')
    .addHelpText('after', examples('xengate sessions', 'xengate sessions --json | jq -r ".[].user"'))
    .action(async (options: SessionsOptions) => {
      const { listSessions } = await import('./commands/sessions.ts')
      onExit(await listSessions(options, io))
    })
  const session = program.command('session').summary('end a session: session end ID').helpCommand(false)
  session.addHelpText('after', examples('xengate session end 6d1c2e9c'))
  withControl(session.command('end').argument('<ID>', 'what "xengate sessions" shows, or the beginning of it'))
    .description('End a session at once. Its requests are refused, and what runs under it is cut.')
    .addHelpText('after', examples('xengate session end 6d1c2e9c'))
    .action(async (id: string, options: ControlOptions) => {
      const { endSession } = await import('./commands/sessions.ts')
      onExit(await endSession(id, options, io))
    })
}

function addBlocked(program: Command, io: Io, onExit: OnExit): void {
  withOwnState(program.command('blocked').helpGroup(GROUP.see).summary('list whose sign-ins are slowed down'))
    .description(`Lists the users and addresses whose sign-ins the daemon slows down after wrong passwords. ${WHERE}`)
    .option('--json', 'print an array')
    .addHelpText('after', examples('xengate blocked'))
    .action(async (options: StateOptions & { json?: boolean }) => {
      const { listBlocked } = await import('./commands/blocked.ts')
      onExit(await listBlocked(options, io))
    })
  withOwnState(program.command('unblock').summary('let somebody sign in again'))
    .description('Has the daemon forget wrong passwords: for a user, from an address, or both; or all.')
    .option('--user <NAME>', 'for this user')
    .option('--address <ADDRESS>', 'from this address')
    .addOption(new Option('--all', 'for everybody').conflicts(['user', 'address']))
    .addHelpText('after', examples('xengate unblock --user alice', 'xengate unblock --address 10.0.0.9'))
    .action(async (options: UnblockOptions, command: Command) => {
      const { user, address, all } = options
      if ([user, address, all].every((one) => one === undefined)) {
        command.error("error: say for whom: '--user', '--address' or '--all'")
      }
      const { unblock } = await import('./commands/blocked.ts')
      onExit(await unblock(options, io))
    })
}
