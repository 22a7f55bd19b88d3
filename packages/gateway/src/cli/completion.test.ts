import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { completionOf, type Shell } from './completion.ts'
import { createProgram } from './program.ts'

const { stdin, stdout, stderr } = process
const program = createProgram({ stdin, stdout, stderr, env: {}, cwd: '/', defaultConfig: '/x.toml' }, () => {})

/** How each shell is asked what follows the words of its arguments, of which the last is being typed. */
const ASK: Readonly<Record<Shell, readonly [command: string, script: string]>> = {
  bash: ['bash', 'source "$0"; COMP_WORDS=(xengate "$@"); COMP_CWORD=$#; _xengate; printf "%s\\n" "${COMPREPLY[@]}"'],
  zsh: [
    'zsh',
    'compdef() { : }; _files() { : }; _describe() { print -l -- ${found%%:*} }; words=(xengate "$@"); CURRENT=$(($# + 1)); source "$0"; _xengate',
  ],
  fish: ['fish', 'source $argv[1]; complete -C"xengate $argv[2..]" | string split -f1 \\t'],
}

for (const shell of ['bash', 'zsh', 'fish'] as const) {
  test(`${shell} completes commands and options`, (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'xg-'))
    t.after(() => rmSync(directory, { recursive: true }))
    const path = join(directory, 'completion')
    writeFileSync(path, completionOf(shell, program))
    const [command, script] = ASK[shell]
    const completed = (...words: readonly string[]): readonly string[] =>
      execFileSync(command, ['-c', script, path, ...words], {
        encoding: 'utf8',
        env: { ...process.env, HOME: directory },
        timeout: 20_000,
      })
        .trim()
        .split('\n')
    const user = completed('user', '')
    for (const name of ['add', 'passwd', 'remove', 'set-role', 'list']) assert.ok(user.includes(name), user.join(' '))
    assert.ok(!user.includes('serve'))
    assert.ok(completed('').includes('completion'))
    const options = completed('user', 'add', '--')
    assert.ok(options.includes('--role') && options.includes('--password-stdin'), options.join(' '))
  })
}
