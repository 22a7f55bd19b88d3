// The commands that begin something new, with their options and help.

import { type Command, Option } from 'commander'
import type { NewServiceOptions } from './commands/new-service.ts'
import type { Io } from './io.ts'
import { LANGUAGES } from './new-service/templates.ts'
import { examples, type OnExit } from './option.ts'

export function addNew(program: Command, io: Io, onExit: OnExit): void {
  const group = program
    .command('new')
    .summary('begin a custom service')
    .description('Makes something to begin with.')
    .addHelpText('after', examples('xengate new service com.example.hello'))
  group
    .command('service')
    .argument('<NAME>', 'well-known name of the service, such as com.example.hello')
    .summary('write a small service that runs, with a test')
    .description(
      'Writes a small custom service: its source, a test that signs in and calls it, units for systemd, and a README that says how to ' +
        'start it. In Python it runs as it is; Go and C are compiled first, and need nothing but the compiler; TypeScript needs Node.js ' +
        '22.18 or later, and the packages @xengate/service and @xengate/client, which are not on npm yet: the README says how to install ' +
        'them from a checkout. Nothing outside of the directory is changed.',
    )
    .addOption(new Option('--language <LANGUAGE>', 'what it is written in').choices(LANGUAGES).default('typescript'))
    .option('--directory <DIR>', 'where it is written; must be empty if it exists (default: NAME)')
    .addHelpText(
      'after',
      examples(
        'xengate new service com.example.hello',
        'xengate new service com.example.hello --language python --directory ~/hello',
        'xengate new service com.example.hello --language go',
      ),
    )
    .action(async (name: string, options: NewServiceOptions) => {
      const { newService } = await import('./commands/new-service.ts')
      onExit(newService(name, options, io))
    })
}
