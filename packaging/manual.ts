// Manual pages and the completion of shells, made from what --help and the configuration's reference are made from.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { completionOf, type Shell, SHELLS } from '../packages/gateway/src/cli/completion.ts'
import { createProgram } from '../packages/gateway/src/cli/program.ts'
import { configReference } from '../packages/gateway/src/config/documentation.ts'
import type { Identity } from './identity.ts'

type Command = ReturnType<typeof createProgram>

/** Writes man/man1/xengate.1, man/man5/xengate.toml.5, and completions for bash, zsh and fish below `share`. */
export function writeManual(share: string, identity: Identity): void {
  const { stdin, stdout, stderr } = process
  const io = { stdin, stdout, stderr, env: {}, cwd: '/', defaultConfig: '/etc/xengate/xengate.toml' }
  const program = createProgram(io, () => {})
  write(join(share, 'man/man1'), 'xengate.1', commandPage(program, identity))
  write(join(share, 'man/man5'), 'xengate.toml.5', configurationPage(configReference(), identity))
  const names: Readonly<Record<Shell, string>> = { bash: 'xengate', zsh: '_xengate', fish: 'xengate.fish' }
  for (const shell of SHELLS) write(join(share, 'completions'), names[shell], completionOf(shell, program))
}

function write(directory: string, name: string, text: string): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, name), text)
}

function commandPage(program: Command, identity: Identity): string {
  const lines = [
    title('XENGATE', 1, identity),
    '.SH NAME',
    `xengate \\- ${roff(program.description())}`,
    '.SH SYNOPSIS',
    '.B xengate\n.I COMMAND\n[options]',
    '.SH COMMANDS',
    ...leavesOf(program, []).flatMap(({ words, command }) => commandSection(words, command)),
    '.SH EXIT STATUS',
    ...entry('0', 'done'),
    ...entry('1', 'it failed; standard error says why'),
    ...entry('2', 'used wrongly; standard error has the help'),
    ...entry('4', 'a sign-in is needed, or was refused'),
    '.SH FILES',
    ...entry('/etc/xengate/xengate.toml', 'the configuration, see xengate.toml(5)'),
    ...entry('/var/lib/xengate', 'users and sessions'),
    ...entry('$XDG_CONFIG_HOME/xengate/session.json', 'the session of xengate login'),
    '.SH SEE ALSO',
    'xengate.toml(5)',
  ]
  return `${lines.join('\n')}\n`
}

interface Leaf {
  readonly words: readonly string[]
  readonly command: Command
}

/** The commands that do something, each with the words that it is called by. */
function leavesOf(command: Command, words: readonly string[]): Leaf[] {
  if (command.commands.length === 0) return [{ words, command }]
  return command.commands.flatMap((one) => leavesOf(one, [...words, one.name()]))
}

function commandSection(words: readonly string[], command: Command): string[] {
  const argumentNames = command.registeredArguments.map((argument) =>
    argument.required ? ` ${argument.name()}` : ` [${argument.name()}]`,
  )
  return [
    `.SS "${roff(`xengate ${words.join(' ')}${argumentNames.join('')}`)}"`,
    roff(capitalized(command.description())),
    ...shownOptions(command).flatMap(({ flags, description }) => entry(flags, description)),
  ]
}

function shownOptions(command: Command): Command['options'] {
  return command.options.filter(({ hidden }) => !hidden)
}

/** The reference page, whose form is that of configReference: headings, paragraphs, and tables with four columns. */
function configurationPage(reference: string, identity: Identity): string {
  const [, ...lines] = reference.replaceAll('`', '').split('\n')
  const head = [
    title('XENGATE.TOML', 5, identity),
    '.SH NAME',
    'xengate.toml \\- configuration of Xengate',
    '.SH DESCRIPTION',
  ]
  return `${[...head, ...lines.flatMap((line) => configurationLines(line))].join('\n')}\n`
}

function configurationLines(line: string): string[] {
  if (line === '' || line.startsWith('| option |') || line.startsWith('| ---')) return []
  if (line.startsWith('## ')) return [`.SH "${roff(line.slice(3))}"`]
  if (!line.startsWith('| ')) return [roff(line)]
  const [key = '', value = '', fallback = '', ...description] = line.slice(2, -2).split(' | ')
  const given = fallback === '' || fallback === 'required' ? fallback : `default ${fallback}`
  return entry(key, `${description.join(' | ')} (${[value, given].filter((part) => part !== '').join('; ')})`)
}

function title(name: string, section: number, { version, epoch }: Identity): string {
  return `.TH ${name} ${section} ${new Date(epoch * 1000).toISOString().slice(0, 10)} "Xengate ${version}"`
}

function entry(term: string, description: string): string[] {
  return ['.TP', `.B ${roff(term)}`, roff(capitalized(description))]
}

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`
}

/** Text as roff takes it for text. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('"', '\\(dq')
    .replaceAll(/^(?=[.'])/gm, '\\&')
}
