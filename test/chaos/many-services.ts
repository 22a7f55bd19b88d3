// Many services in one process: many-services.ts DIRECTORY COUNT. Each answers its own name.

import { createServer } from 'node:http'
import { join } from 'node:path'
import { nameOf } from './answer.ts'

const [directory = '', count = '0'] = process.argv.slice(2)

for (let number = 0; number < Number(count); number++) {
  const name = nameOf(number)
  const server = createServer((_request, response) => void response.end(name))
  await new Promise<void>((resolve) => server.listen(join(directory, name), resolve))
}
process.stdout.write('ready\n')
process.once('SIGTERM', () => process.exit())
