// The command that serves plugin scripts of the XenAPI, with its options and help.

import { type Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../config/durations.ts'
import type { ServePluginsOptions } from './commands/serve-plugins.ts'
import type { Io } from './io.ts'
import { examples, type OnExit } from './option.ts'

/** The most that a timer of Node.js takes, about 24 days. */
const TIMEOUT_MS_MAX = 2_147_483_647

export function addPlugins(program: Command, io: Io, onExit: OnExit): void {
  program
    .command('serve-plugins')
    .summary('run plugin scripts of the XenAPI as a custom service')
    .description(
      'Runs the custom service org.xengate.plugins: a POST to /services/plugin/org.xengate.plugins/<plugin>/<function>, with the ' +
        'arguments as a JSON object of strings, runs that plugin script and answers its value. Only sessions with the role pool-admin may. ' +
        'host.call_plugin of a gateway with sessions of its own comes here, too, where no service has the name of the plugin. ' +
        'Scripts run as the user who starts this. SIGTERM waits for those that run, 30 s at most.',
    )
    .option('--scripts <DIR>', 'where the scripts are', '/etc/xapi.d/plugins')
    .option('--directory <DIR>', 'where the gateway looks for services', '/var/xapi/plugin')
    .option(
      '--group <GROUP>',
      'group of the sockets, who may connect: that of the gateway (default: that of this process)',
    )
    .option('--runs <COUNT>', 'scripts that run at once; past it a call gets 503', count, 8)
    .option('--timeout <DURATION>', 'after so long a script is ended, such as 90s or 2h', duration, '1h')
    .option('--output <BYTES>', 'bytes that a script may print', count, 4_194_304)
    .addHelpText(
      'after',
      examples(
        'xengate serve-plugins --group xengate',
        'xengate serve-plugins --scripts ./plugins --directory .xengate/plugin',
      ),
    )
    .action(async (options: ServePluginsOptions) => {
      const { servePluginsCommand } = await import('./commands/serve-plugins.ts')
      onExit(await servePluginsCommand(options, io))
    })
}

function count(text: string): number {
  const value = Number(text)
  if (!/^\d{1,9}$/.test(text) || value === 0) throw new InvalidArgumentError('It must be a whole number above 0.')
  return value
}

function duration(text: string): string {
  const ms = parseDuration(text)
  if (ms === undefined || ms === 0 || ms > TIMEOUT_MS_MAX)
    throw new InvalidArgumentError('It must be such as 90s, 10m or 2h, and 24 days at most.')
  return text
}
