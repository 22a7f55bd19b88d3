// What the help of several commands has in common.

import { type Command, Option } from 'commander'

/** Takes the exit code of the command that ran. */
export type OnExit = (code: number) => void

/** The part of a help text that shows how the command is used. */
export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}`
}

export function configOption(): Option {
  return new Option('--config <FILE>', 'the configuration, a TOML file (default: /etc/xengate/xengate.toml)')
}

/** Options of a command that works on users and sessions. */
export function withState(command: Command): Command {
  return command
    .addOption(configOption().conflicts('state'))
    .option('--state <DIR>', 'the state directory (default: .xengate, if it is here)')
}
