// A host's port 443 as a browser sees it: stunnel, which asks the gateway or xapi, and xapi's web server (ocaml/xapi/fileserver.ml).

import { readFile, stat } from 'node:fs/promises'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { extname, join, normalize } from 'node:path'
import type { Scope } from './scope.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'application/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
}

/** A port at which xapi answers, or what is in front of it. */
export interface XapiWeb {
  readonly url: string
  /** Has a gateway's port answer, or with null xapi. Connections that are open end. */
  putInFront(port: number | null): void
}

/** Serves the files of `directory` as xapi serves /opt/xensource/www. */
export async function startXapiWeb(scope: Scope, directory: string): Promise<XapiWeb> {
  const xapi = createHttpServer((request, response) => {
    request.resume()
    answer(directory, request, response).catch(() => response.destroy())
  })
  const xapiPort = await listenOnPort(scope, xapi)
  const sockets = new Set<Socket>()
  let upstream = xapiPort
  const port = await listenOnPort(
    scope,
    createServer((client) => {
      const other = connect(upstream, '127.0.0.1')
      for (const socket of [client, other]) {
        sockets.add(socket)
        socket
          .on('error', () => {})
          .once('close', () => {
            sockets.delete(socket)
            client.destroy()
            other.destroy()
          })
      }
      client.pipe(other).pipe(client)
    }),
  )
  scope.defer(() => sockets.forEach((socket) => socket.destroy()))
  return {
    url: `http://127.0.0.1:${port}`,
    putInFront: (gateway) => {
      upstream = gateway ?? xapiPort
      for (const socket of sockets) socket.destroy()
    },
  }
}

async function listenOnPort(scope: Scope, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  scope.defer(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** No redirect to a directory's own path, no query, and no header but the type. */
async function answer(
  directory: string,
  { method, url = '', headers }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [path = ''] = url.split('?')
  if (path.startsWith('/services/') && headers.cookie === undefined) {
    response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="xapi"', 'Content-Type': 'text/html' })
    response.end('<html><body><h1>HTTP 401 unauthorised</h1></body></html>')
    return
  }
  // Any other POST is a call of the XenAPI to it.
  if (method !== 'GET') {
    response.writeHead(500, { 'Content-Type': 'text/html' }).end('<html><body><h1>HTTP 500</h1></body></html>')
    return
  }
  const wanted = join(directory, normalize(path))
  const isDirectory = await stat(wanted).then(
    (found) => found.isDirectory(),
    () => false,
  )
  const file = isDirectory ? join(wanted, 'index.html') : wanted
  try {
    const bytes = await readFile(file)
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(bytes)
  } catch {
    response.writeHead(404).end('<!DOCTYPE HTML><html><body><h1>Not Found</h1></body></html>')
  }
}
