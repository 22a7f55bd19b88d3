// A service whose every answer can be checked: service.ts SOCKET DONE. What it answers follows from the request's id, and it writes down the
// id of each POST when it has all of it, so that one that was done twice is seen.

import { createHash } from 'node:crypto'
import { appendFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { answerBytes } from './answer.ts'

const [path = '', done = ''] = process.argv.slice(2)

const server = createServer((request, response) => {
  const id = String(request.headers['x-chaos-id'])
  const hash = createHash('sha256')
  request.on('data', (chunk: Buffer) => hash.update(chunk))
  request.on('end', () => {
    if (request.method === 'POST') appendFileSync(done, `${id}\n`)
    const body = answerBytes(id)
    response.setHeader('X-Chaos-Id', id)
    response.setHeader('X-Chaos-User', String(request.headers['x-xen-session-user']))
    response.setHeader('X-Chaos-Body', hash.digest('hex'))
    // Some with a length, some in chunks, some in two parts with a pause.
    if (body.length % 2 === 0) response.setHeader('Content-Length', body.length)
    if (body.length % 3 !== 0) {
      response.end(body)
      return
    }
    response.write(body.subarray(0, body.length / 2))
    setTimeout(() => response.end(body.subarray(body.length / 2)), 5)
  })
})
rmSync(path, { force: true })
server.listen(path, () => process.stdout.write('ready\n'))
process.once('SIGTERM', () => process.exit())
