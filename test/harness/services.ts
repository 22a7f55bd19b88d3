// Custom services: real servers on Unix sockets.

import { mkdir, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import { connect, createServer as createSocketServer, type Socket } from 'node:net'
import { delimiter, join } from 'node:path'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Child } from './child.ts'
import { until } from './deadline.ts'
import type { Scope } from './scope.ts'

const SERVICES = fileURLToPath(new URL('../services', import.meta.url))

/** A program's own environment; daemons are in sbin, which the path of a user who is not root often lacks. */
const ENV = {
  ...process.env,
  PATH: [process.env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin'].join(delimiter),
  PYTHONDONTWRITEBYTECODE: '1',
  PYTHONUNBUFFERED: '1',
}

/** A server of node:http at `path`, in this process. */
export async function serveHttp(scope: Scope, path: string, listener: RequestListener): Promise<Server> {
  const server = createHttpServer({ requestTimeout: 0 }, listener)
  await listen(server, path)
  scope.defer(() => {
    server.close()
    server.closeAllConnections()
  })
  return server
}

const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'

/** A server at `path` that switches protocols, and says back what it hears from then on. */
export async function echoUpgrades(scope: Scope, path: string): Promise<void> {
  const server = await serveHttp(scope, path, (_, response) => void response.writeHead(400).end())
  const sockets = new Set<Duplex>()
  scope.defer(() => sockets.forEach((socket) => socket.destroy()))
  server.on('upgrade', (_, socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    socket.write(SWITCHED)
    socket.pipe(socket)
  })
}

/** Services that take channels, in a process of their own: see `services/node_service.ts`. */
export async function startChannelServices(
  scope: Scope,
  directory: string,
  ...names: readonly string[]
): Promise<void> {
  const argv = ['-C', '@xengate/source', join(SERVICES, 'node_service.ts'), directory, ...names]
  const service = new Child(scope, process.execPath, argv)
  await service.printed(({ stdout }) => (stdout.includes('ready\n') ? true : undefined), 'the services to start')
}

/** A server at `path` that does with each connection what `accept` says. */
export async function serveSockets(scope: Scope, path: string, accept: (socket: Socket) => void): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createSocketServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    accept(socket)
  })
  await listen(server, path)
  scope.defer(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
}

/** Makes `server` listen at `path`. */
export function listen(server: ReturnType<typeof createSocketServer> | Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject).listen(path, resolve)
  return promise
}

/** nginx at `path`, with `locations` in its configuration. Its files are in the directory that is returned. */
export async function startNginx(
  scope: Scope,
  path: string,
  locations: (directory: string) => string,
): Promise<{ readonly directory: string; readonly child: Child }> {
  const directory = await scope.directory()
  await Promise.all(['files', 'temp'].map((name) => mkdir(join(directory, name))))
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const configuration = `daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1;
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  default_type application/octet-stream;
  ${temporary.map((name) => `${name}_temp_path ${directory}/temp/${name};`).join('\n  ')}
  server {
    listen unix:${path};
    ${locations(directory)}
  }
}
`
  await writeFile(join(directory, 'nginx.conf'), configuration)
  const argv = ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr']
  const child = new Child(scope, 'nginx', argv, { env: ENV })
  await answers(child, path)
  return { directory, child }
}

/** gunicorn at `path`, with the application in `services/wsgi_app.py`. */
export async function startGunicorn(scope: Scope, path: string): Promise<Child> {
  const argv = [
    '--bind',
    `unix:${path}`,
    '--workers',
    '1',
    '--threads',
    '2',
    '--chdir',
    SERVICES,
    'wsgi_app:application',
  ]
  const child = new Child(scope, '/usr/bin/gunicorn', argv, { env: ENV })
  await answers(child, path)
  return child
}

/** Python's http.server at `path`, as in `services/http_server.py`. */
export async function startPythonServer(scope: Scope, path: string): Promise<Child> {
  const child = new Child(scope, 'python3', [join(SERVICES, 'http_server.py'), path], { env: ENV })
  await answers(child, path)
  return child
}

/** Waits until somebody answers at `path`. */
async function answers(child: Child, path: string): Promise<void> {
  await until(async () => {
    if (child.hasEnded) throw new Error(`the service ended:\n${child.stdout}${child.stderr}`)
    return isAnswered(path)
  }, `somebody to listen at ${path}`)
}

function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({ path })
  socket.once('connect', () => {
    socket.destroy()
    resolve(true)
  })
  socket.once('error', () => resolve(false))
  return promise
}
