// The commands that call services, with their options and help.

import { type Command, Option } from 'commander'
import type { CallOptions } from './commands/call.ts'
import type { LoginOptions } from './commands/login.ts'
import type { Io } from './io.ts'
import { examples, type OnExit } from './option.ts'

/** `-H` may be there many times. */
function another(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

function withTrust(command: Command): Command {
  return command
    .option('--ca <FILE>', "PEM file of certificates to trust, in addition to the system's")
    .option('--insecure', 'accept any certificate: anyone in between can then read and change everything')
}

export function addCalls(program: Command, io: Io, onExit: OnExit): void {
  addLogin(program, io, onExit)
  const add = (
    method: string,
    summary: string,
    more: (command: Command) => Command,
    ...lines: readonly string[]
  ): void => {
    const name = method.toLowerCase()
    more(
      program
        .command(name)
        .argument('<SERVICE[/PATH][?QUERY]>', 'the service, and what is asked of it')
        .summary(summary),
    )
      .description(
        `${summary[0]?.toUpperCase()}${summary.slice(1)}, in the session of "xengate login", or in that of XENGATE_SESSION. ` +
          'The answer goes to standard output, and nothing else does. Redirects (302) to other hosts of the pool are followed.',
      )
      .option('-o, --output <FILE>', 'write the answer there, once it has come whole')
      .option('-H, --header <FIELD>', 'a header field, "Name: value"; may be repeated', another)
      .option('-i, --include', "print the answer's status and header in front of it")
      .option('--url <URL>', 'of another gateway than that of "xengate login"')
      .option('--session-id <ID>', 'of a session there; better in XENGATE_SESSION')
      .addHelpText('after', examples(...lines))
      .action(async (target: string, options: CallOptions) => {
        const { call } = await import('./commands/call.ts')
        onExit(await call(method, target, options, io))
      })
  }
  const withBody = (command: Command): Command =>
    withTrust(command)
      .addOption(
        new Option('-d, --data <DATA>', 'what is sent, as a form is; @FILE for what is in a file').conflicts(
          'uploadFile',
        ),
      )
      .option('-T, --upload-file <FILE>', 'what is sent, as it is read; - for standard input')
  add(
    'GET',
    'read from a service',
    withTrust,
    'xengate get org.xengate.demo',
    'xengate get com.example.backup/images/1 -o image',
  )
  add('PUT', 'send something to a service', withBody, 'xengate put com.example.backup/images/1 -T image')
  add(
    'POST',
    'have a service do something',
    withBody,
    'xengate post com.example.gpu/reset -d card=0',
    "xengate post com.example.gpu/jobs -H 'Content-Type: application/json' -d @job.json",
  )
}

function addLogin(program: Command, io: Io, onExit: OnExit): void {
  withTrust(program.command('login').argument('<URL>', 'of the gateway: https://host').summary('sign in at a gateway'))
    .description(
      'Signs in at a gateway, and keeps the session for "xengate get", "put" and "post", and for --url of other commands, in ' +
        '$XDG_CONFIG_HOME/xengate/session.json, which nobody else can read. The password is not kept. The session before, also one at another gateway, is ended.',
    )
    .option('--user <NAME>', 'who signs in; otherwise it is asked for')
    .option('--password-stdin', 'read the password from standard input; otherwise it is asked for')
    .addHelpText(
      'after',
      examples('xengate login https://host', 'xengate login https://host --user ci --password-stdin < password.txt'),
    )
    .action(async (url: string, options: LoginOptions) => {
      const { login } = await import('./commands/login.ts')
      onExit(await login(url, options, io))
    })
  program
    .command('logout')
    .description('End the session of "xengate login", and forget it.')
    .summary('end the session of "xengate login"')
    .addHelpText('after', examples('xengate logout'))
    .action(async () => {
      const { logout } = await import('./commands/login.ts')
      onExit(await logout(io))
    })
}
