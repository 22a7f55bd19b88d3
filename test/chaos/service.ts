// A service whose every answer can be checked: service.ts SOCKET DONE. What it answers follows from the request's id, and it writes down the
// id of each POST when it has all of it, so that one that was done twice is seen.

import { appendFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { answer } from './answer.ts'

const [path = '', done = ''] = process.argv.slice(2)

const server = createServer((request, response) => answer(request, response, (id) => appendFileSync(done, `${id}\n`)))
rmSync(path, { force: true })
server.listen(path, () => process.stdout.write('ready\n'))
process.once('SIGTERM', () => process.exit())
