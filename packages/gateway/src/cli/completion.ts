// What shells complete, made from what --help is made from.

import type { Command, Option } from 'commander'

/** The shells that are known. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** A command, or a group of them, by the words that it is called by. */
interface Place {
  readonly words: readonly string[]
  readonly command: Command
}

/** The script that has `shell` complete `xengate`: commands, options, and files where neither fits. */
export function completionOf(shell: Shell, program: Command): string {
  const places = placesIn(program, [])
  return shell === 'bash' ? bash(places) : shell === 'zsh' ? zsh(places) : fish(places)
}

function placesIn(command: Command, words: readonly string[]): Place[] {
  const below = command.commands.flatMap((one) => placesIn(one, [...words, one.name()]))
  return [{ words, command }, ...below]
}

/** Those that help shows. */
function shownOptions({ options }: Command): readonly (Option & { readonly long: string })[] {
  return options.filter(
    (option): option is Option & { long: string } => !option.hidden && typeof option.long === 'string',
  )
}

/** What stands beside a word, on one line. */
function summaryOf(command: Command): string {
  return (command.summary() || command.description()).replaceAll(/\s+/g, ' ')
}

function bash(places: readonly Place[]): string {
  const cases = places.map(({ words, command }) => {
    const found = [
      ...command.commands.map((one) => one.name()),
      ...shownOptions(command).map(({ long }) => long),
      '--help',
    ]
    return `    '${['xengate', ...words].join(' ')}') words='${found.join(' ')}' ;;`
  })
  return `# Completion of bash for xengate: commands, options, and files where neither fits.
_xengate() {
  local path=xengate words= word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) break ;; *) path="$path $word" ;; esac
  done
  case $path in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _xengate xengate
`
}

/** A text in single quotes, in which zsh has no escapes. */
function zshText(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}

/** One that `_describe` takes: a word, and what it is. */
function described(word: string, text: string): string {
  return zshText(`${word}:${text.replaceAll(':', String.raw`\:`)}`)
}

function zsh(places: readonly Place[]): string {
  const cases = places.map(({ words, command }) => {
    const found = [
      ...command.commands.map((one) => described(one.name(), summaryOf(one))),
      ...shownOptions(command).map(({ long, description }) => described(long, description)),
    ]
    return `  '${['xengate', ...words].join(' ')}') found=(${found.join(' ')}) ;;`
  })
  return `#compdef xengate
# Completion of zsh for xengate: commands, options, and files where neither fits. A file in fpath, or what is sourced.
_xengate() {
  local at=xengate word
  local -a found
  for word in \${words[2,CURRENT-1]}; do
    [[ $word == -* ]] && break
    at="$at $word"
  done
  case $at in
${cases.join('\n')}
  esac
  _describe 'xengate' found || _files
}
if [[ \${funcstack[1]} == _xengate ]]; then _xengate "$@"; else compdef _xengate xengate; fi
`
}

/** The same, in which fish escapes the quote and the backslash. */
function fishText(text: string): string {
  return `'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ words, command }) => {
    const at = `complete -c xengate -n ${fishText(`__xengate_at ${words.join(' ')}`.trim())}`
    return [
      ...command.commands.map((one) => `${at} -f -a ${one.name()} -d ${fishText(summaryOf(one))}`),
      ...shownOptions(command).map(({ long, short, required, description }) => {
        const brief = short === undefined ? '' : ` -s ${short.slice(1)}`
        return `${at}${brief} -l ${long.slice(2)}${required ? ' -r' : ''} -d ${fishText(description)}`
      }),
    ]
  })
  return `# Completion of fish for xengate: commands, options, and files where neither fits.
function __xengate_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l at
    for word in $words
        string match -q -- '-*' $word; and break
        set -a at $word
    end
    test "$at" = "$argv"
end
${lines.join('\n')}
`
}
