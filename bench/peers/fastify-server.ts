// The program of the peer `fastify`: PORT SOCKET SESSIONS.

import { readFileSync } from 'node:fs'
import httpProxy from '@fastify/http-proxy'
import fastify from 'fastify'

const [port, socket = '', sessionsFile = ''] = process.argv.slice(2)
const users = new Map(
  readFileSync(sessionsFile, 'latin1')
    .trimEnd()
    .split('\n')
    .map((id) => [id, 'bench'] as const),
)

const server = fastify({ logger: false, keepAliveTimeout: 75_000 })
server.addHook('onRequest', async (request, reply) => {
  const cookie = request.headers.cookie ?? ''
  const user = users.get(/(?:^|;\s*)session_id=([^;]*)/.exec(cookie)?.[1] ?? '')
  if (user === undefined) return reply.code(403).send()
  request.headers['x-xen-session-user'] = user
  request.headers['x-forwarded-for'] = request.ip
})
await server.register(httpProxy, { upstream: `unix+http://${encodeURIComponent(socket)}/`, undici: {} })
await server.listen({ host: '127.0.0.1', port: Number(port) })
