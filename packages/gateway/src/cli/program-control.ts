// The commands that ask a running gateway, with their options and help.

import { type Command, Option } from 'commander'
import type { ViewOptions } from './commands/control.ts'
import type { ControlOptions } from './control.ts'
import type { Io } from './io.ts'
import { examples, GROUP, type OnExit, withState } from './option.ts'

const IDS = 'print the ids alone, in one line with commas between'
const WHERE =
  'On the host it asks the daemon by its control socket, as the user that the daemon runs as; with --url a gateway elsewhere, in a session ' +
  'with the role pool-admin: that of "xengate login", --session-id, or XENGATE_SESSION in the environment.'

type Show = (options: ViewOptions, io: Io) => Promise<number>
type Commands = typeof import('./commands/control.ts')

/** Options of a command that asks a gateway. */
export function withControl(command: Command): Command {
  return withState(command)
    .addOption(new Option('--url <URL>', 'of a gateway elsewhere').conflicts(['state', 'config']))
    .option('--session-id <ID>', 'of the session at --url; better in XENGATE_SESSION')
}

function withView(command: Command, minimal: string): Command {
  return withControl(command)
    .addOption(new Option('--json', 'print the answer as JSON').conflicts('minimal'))
    .option('--watch', 'show it again every two seconds')
    .option('--minimal', minimal)
}

export function addControl(program: Command, io: Io, onExit: OnExit): void {
  program.commandsGroup(GROUP.see)
  const add = (name: string, summary: string, minimal: string, show: (commands: Commands) => Show): void => {
    withView(program.command(name).summary(summary), minimal)
      .description(`${summary[0]?.toUpperCase()}${summary.slice(1)}. ${WHERE}`)
      .addHelpText('after', examples(`xengate ${name}`, `xengate ${name} --json`))
      .action(async (options: ViewOptions) => {
        onExit(await show(await import('./commands/control.ts'))(options, io))
      })
  }
  add(
    'status',
    'say whether the gateway is up, and how it does',
    'print one word: in-service or out-of-service',
    ({ showStatus }) => showStatus,
  )
  add('services', 'list the services here and elsewhere, and how they do', IDS, ({ showServices }) => showServices)
  add('connections', 'list who is connected, and what is under way', IDS, ({ showConnections }) => showConnections)
  add(
    'refusals',
    'list the latest requests that were refused or failed, and why',
    IDS,
    ({ showRefusals }) => showRefusals,
  )
  addEvents(program, io, onExit)
  addExplain(program, io, onExit)
  program.commandsGroup(GROUP.act)
  addConnection(program, io, onExit)
  addService(program, io, onExit)
}

function addEvents(program: Command, io: Io, onExit: OnExit): void {
  withControl(program.command('events').summary("show the log's events as they come"))
    .description(`Shows the log's events as they come, until it is stopped. ${WHERE}`)
    .option('--json', 'print lines of JSON, as the log has them')
    .addHelpText('after', examples('xengate events', 'xengate events --json | jq -c "select(.level != \\"info\\")"'))
    .action(async (options: ViewOptions) => {
      const { showEvents } = await import('./commands/control.ts')
      onExit(await showEvents(options, io))
    })
}

function addExplain(program: Command, io: Io, onExit: OnExit): void {
  withControl(
    program.command('explain').argument('<REQUEST-ID>', 'X-Request-Id of the answer, or requestId in the log'),
  )
    .summary('say why a request was refused or failed, and what else is known of it')
    .description(
      `Says what is known of a recent request: and, if it was refused or failed, why, by whom and in which phase. ${WHERE}`,
    )
    .option('--json', 'print the answer as JSON')
    .addHelpText('after', examples('xengate explain 4c1f6f59c048-7'))
    .action(async (id: string, options: ViewOptions) => {
      const { explainRequest } = await import('./commands/control.ts')
      onExit(await explainRequest(id, options, io))
    })
}

function addConnection(program: Command, io: Io, onExit: OnExit): void {
  const connection = program.command('connection').summary('end a connection: connection end ID').helpCommand(false)
  connection.addHelpText('after', examples('xengate connection end 4711-2f'))
  withControl(connection.command('end').argument('<ID>', 'what "xengate connections" shows; or the id of a channel'))
    .summary("end a client's connection, with what is under way on it")
    .description(`Ends a client's connection at once, with what is under way on it. ${WHERE}`)
    .addHelpText('after', examples('xengate connection end 4711-2f'))
    .action(async (id: string, options: ControlOptions) => {
      const { endConnection } = await import('./commands/control.ts')
      onExit(await endConnection(id, options, io))
    })
}

function addService(program: Command, io: Io, onExit: OnExit): void {
  const service = program
    .command('service')
    .summary('let a failed service be tried again: service close-breaker NAME')
    .helpCommand(false)
  service.addHelpText('after', examples('xengate service close-breaker com.example.backup'))
  withControl(service.command('close-breaker').argument('<NAME>', 'of the service, as "xengate services" shows it'))
    .summary('have a service asked again: close its circuit breaker')
    .description(
      'Has a service asked again that failed again and again, and is not asked for a moment: closes its circuit breaker in every worker. ' +
        `When it goes on failing the breaker opens again. ${WHERE}`,
    )
    .addHelpText('after', examples('xengate service close-breaker com.example.backup'))
    .action(async (name: string, options: ControlOptions) => {
      const { closeBreaker } = await import('./commands/control.ts')
      onExit(await closeBreaker(name, options, io))
    })
}
