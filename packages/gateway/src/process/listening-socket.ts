// Sockets that the primary binds and every worker listens on. They belong to the primary, so that workers can come and
// go without a connection lost: what is bound stays bound, and connections wait in the kernel's queue.

import { lookup } from 'node:dns/promises'
import { chmodSync, existsSync, lstatSync, unlinkSync } from 'node:fs'
import net from 'node:net'
import { dirname } from 'node:path'
import util from 'node:util'
import type { ListenAddress } from '../config/schema.ts'

/** A listener cannot be had: the text says which and why. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
}

/** A bound socket. */
export interface ListeningSocket {
  /** Descriptor in this process, for a worker to inherit. */
  readonly fd: number
  /** `http://host:port` with the port that the system chose if 0 was asked for, or `unix:/path`. */
  readonly url: string
  /** Stops listening; the file of a Unix socket is removed if it is still this one. */
  close(): void
}

/** The part used of Node.js's handle of a socket. */
interface Handle {
  readonly fd: number
  getsockname(into: { address?: string; port?: number; family?: string }): number
  close(): void
}

/**
 * Binds without accepting, which `net.Server` cannot do: it accepts as soon as it listens, and here that is the workers'
 * part. `node:cluster` binds with the same function; see docs/decisions.
 */
function createServerHandle(address: string, port: number, family: 4 | 6 | -1): Handle | number {
  const internals = net as unknown as { _createServerHandle(...of: [string, number, number]): Handle | number }
  return internals._createServerHandle(address, port, family)
}

/** Mode of a Unix listener's file: whoever is on the host may knock, and needs a session like everybody else. */
const UNIX_LISTENER_MODE = 0o666

/** Binds a socket at `address`. @throws {ListenError} when it cannot be had */
export async function bindListener(address: ListenAddress): Promise<ListeningSocket> {
  return address.kind === 'tcp' ? bindTcp(address.host, address.port) : bindUnix(address.path)
}

async function bindTcp(host: string, port: number): Promise<ListeningSocket> {
  const found = await lookup(host).catch((error: NodeJS.ErrnoException) => {
    throw new ListenError(`cannot listen on ${host}:${port}: the host name is not known (${error.code})`)
  })
  const family = found.family === 6 ? 6 : 4
  const handle = createServerHandle(found.address, port, family)
  if (typeof handle === 'number') throw new ListenError(`cannot listen on ${host}:${port}: ${errorText(handle)}`)
  const name: { port?: number } = {}
  handle.getsockname(name)
  const bound = name.port ?? 0
  // An address that is in use is reported late by libuv: it shows as no port at all.
  if (bound === 0) {
    handle.close()
    throw new ListenError(`cannot listen on ${host}:${port}: the address is in use by another program`)
  }
  const shown = host.includes(':') ? `[${host}]` : host
  return { fd: handle.fd, url: `http://${shown}:${bound}`, close: () => handle.close() }
}

async function bindUnix(path: string): Promise<ListeningSocket> {
  const directory = dirname(path)
  if (!existsSync(directory)) throw new ListenError(`cannot listen on unix:${path}: there is no directory ${directory}`)
  await removeStaleSocket(path)
  const handle = createServerHandle(path, -1, -1)
  if (typeof handle === 'number') throw new ListenError(`cannot listen on unix:${path}: ${errorText(handle)}`)
  chmodSync(path, UNIX_LISTENER_MODE)
  const own = lstatSync(path).ino
  return {
    fd: handle.fd,
    url: `unix:${path}`,
    // Closing removes the file by its name, so that it is left open when the name is another's by now.
    close: () => {
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === own) handle.close()
    },
  }
}

/**
 * Removes the file of a Unix socket that nobody listens on.
 * @throws {ListenError} when somebody does, or when the file is no socket
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw new ListenError(`cannot listen on unix:${path}: a file that is no socket is there`)
  if (await isAnswered(path)) {
    throw new ListenError(`cannot listen on unix:${path}: another program is listening there; stop it first`)
  }
  unlinkSync(path)
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // A full queue (EAGAIN) means that somebody is there too.
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
}

function errorText(code: number): string {
  switch (util.getSystemErrorName(code)) {
    case 'EACCES':
      return 'not permitted; choose another port or path, or run as root'
    case 'EADDRINUSE':
      return 'the address is in use by another program'
    case 'EADDRNOTAVAIL':
      return 'this machine does not have that address'
    case 'ENOENT':
      return 'its directory does not exist'
    default:
      return util.getSystemErrorName(code)
  }
}
