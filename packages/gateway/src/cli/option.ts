// What the help of several commands has in common.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { parsePort } from '../model/origin.ts'
import { CliError } from './errors.ts'

/** Takes the exit code of the command that ran. */
export type OnExit = (code: number) => void

/** Headings of the help under which commands stand, in their order. */
export const GROUP = {
  run: 'Run a gateway:',
  see: 'See how it does:',
  act: 'Act on it:',
  configure: 'Configuration and users:',
  call: 'Call services:',
  host: 'On a XenServer or XCP-ng host:',
  more: 'More:',
} as const

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

/** The same of a command that only the host itself may give: who says `--url`, as to the others, is told why not. */
export function withOwnState(command: Command): Command {
  const url = new Option('--url <URL>').hideHelp().argParser(() => {
    const text = `xengate ${command.name()} is for the host itself: its root decides on it, and no session of the XenAPI can ask for it`
    throw new CliError('host-only', text)
  })
  return withState(command).addOption(url)
}

/** Reads a TCP port, of which `min` is the first. */
export function portFrom(min: 0 | 1): (text: string) => number {
  return (text) => {
    const port = parsePort(text)
    if (port === undefined || port < min) throw new InvalidArgumentError(`It must be a number from ${min} to 65535.`)
    return port
  }
}
