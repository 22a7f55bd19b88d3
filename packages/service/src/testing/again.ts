// A process that goes on after its first service was stopped: again.ts DIRECTORY.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { serve } from '../serve.ts'
import { SERVICE_NAME } from './gateway.ts'

const [directory = ''] = process.argv.slice(2)
let stops = 0
process.on('SIGTERM', () => {
  if (++stops === 1) void startSecond()
  // Only now is the answer given: a service that was ended at this signal does not get it out.
  else setImmediate(() => answer())
})
let answer = (): void => {}

await serve({ name: SERVICE_NAME, directory, handler: (_request, response) => response.end() })
process.stdout.write('first\n')

async function startSecond(): Promise<void> {
  while (existsSync(join(directory, SERVICE_NAME))) await new Promise(setImmediate)
  await serve({
    name: SERVICE_NAME,
    directory,
    handler: (_request, response) => {
      answer = () => response.end('slow')
      process.stdout.write('asked\n')
    },
  })
  process.stdout.write('second\n')
}
