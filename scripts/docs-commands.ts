// The page of the command line, from the same table as --help.

import { createProgram } from '../packages/gateway/src/cli/program.ts'

type Command = ReturnType<typeof createProgram>

/** `docs/command-line.md`: each command with its help, in the order and under the headings of `xengate --help`. */
export function commandsPage(): { readonly path: string; readonly text: string } {
  const { stdin, stdout, stderr } = process
  const io = { stdin, stdout, stderr, env: {}, cwd: '/', defaultConfig: '/etc/xengate/xengate.toml' }
  const program = createProgram(io, () => {})
  const sections = program.commands
    .filter((command) => command.name() !== 'help')
    .flatMap((command) => sectionsOf(command, 'xengate'))
  const text = `# The command line\n\n\`xengate help COMMAND\` prints the same; \`man xengate\` too, where the package is installed. Exit codes: 0 done, 1 it failed, 2 usage, 4 a sign-in is needed.\n\n${sections.join('\n')}`
  return { path: 'docs/command-line.md', text }
}

function sectionsOf(command: Command, before: string): string[] {
  const name = `${before} ${command.name()}`
  const own = `## ${name}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\`\n`
  return command.commands.length === 0 ? [own] : command.commands.flatMap((child) => sectionsOf(child, name))
}

/** As on a terminal of 100 columns. */
function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 100 })
  command.outputHelp()
  return text.trim()
}
