// Sockets that the primary binds and every worker listens on. They belong to the primary, so that workers can come and
// go without a connection lost: what is bound stays bound, and connections wait in the kernel's queue.

import { lookup } from 'node:dns/promises'
import { chmodSync, chownSync, constants, existsSync, fstatSync, lstatSync, openSync, unlinkSync } from 'node:fs'
import type { Server } from 'node:http'
import { dirname } from 'node:path'
import util from 'node:util'
import { type Account, AccountUnknownError, idOf } from './account.ts'
import { bindSocket, closeDescriptor, isAnswered } from '@xengate/channel'
import type { ListenAddress } from '../config/addresses.ts'
import { bindHandle, openHandle, type ServerHandle } from './server-handle.ts'
import { type HeldSocket, sockets } from './sockets.ts'

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
  /** Whether it is the service manager's, which keeps it. */
  readonly isManagers: boolean
  /** Gives the file of a Unix socket another mode, owner and group. @throws {ListenError} */
  setFile(file: SocketFile): void
  /** Stops listening; the file of a Unix socket is removed if it is still this one. May be called again. */
  close(): void
}

/** Whose a Unix socket's file is, and who may connect to it. */
export interface SocketFile {
  /** Permission bits. */
  readonly mode: number
  /** Names or numbers of the owner and the group; null: those of this process. */
  readonly owner: string | number | null
  readonly group: string | number | null
}

/** Any local user may connect. */
export const OPEN_SOCKET_FILE: SocketFile = Object.freeze({ mode: 0o666, owner: null, group: null })

/** Binds a socket at `address`. @param file of a Unix socket. @throws {ListenError} when it cannot be had */
export async function bindListener(address: ListenAddress, file: SocketFile): Promise<ListeningSocket> {
  return address.kind === 'tcp' ? bindTcp(address.host, address.port) : bindUnix(address.path, file)
}

async function bindTcp(host: string, port: number): Promise<ListeningSocket> {
  const { handle, socket, url } = await tcpHandle(host, port)
  let isOpen = true
  const close = (): void => {
    if (!isOpen) return
    isOpen = false
    sockets.closed(socket)
    if (!sockets.keep(socket)) handle.close()
  }
  return { fd: handle.fd, url, isManagers: socket.isManagers, setFile: () => {}, close }
}

async function tcpHandle(
  host: string,
  port: number,
): Promise<{ readonly handle: ServerHandle; readonly socket: HeldSocket; readonly url: string }> {
  const found = await lookup(host).catch((error: NodeJS.ErrnoException) => {
    throw new ListenError(`cannot listen on ${host}:${port}: the host name is not known (${error.code})`)
  })
  const key = `${host} ${port}`
  const given = sockets.take(key, `${found.address} ${port}`)
  const handle =
    given === undefined ? bindHandle(found.address, port, found.family === 6 ? 6 : 4) : openHandle(given.fd)
  if (typeof handle === 'number') throw new ListenError(`cannot listen on ${host}:${port}: ${errorText(handle)}`)
  const name: { port?: number } = {}
  handle.getsockname?.(name)
  const bound = name.port ?? 0
  // An address that is in use is reported late by libuv: it shows as no port at all.
  if (bound === 0) {
    handle.close()
    throw new ListenError(`cannot listen on ${host}:${port}: the address is in use by another program`)
  }
  const socket = { key, fd: handle.fd, isManagers: given?.isManagers ?? false }
  sockets.hold(socket)
  const shown = host.includes(':') ? `[${host}]` : host
  return { handle, socket, url: `http://${shown}:${bound}` }
}

async function bindUnix(path: string, file: SocketFile): Promise<ListeningSocket & UnixSocket> {
  const given = sockets.take(path)
  const socket = given ?? { key: path, fd: await bindPath(path), isManagers: false }
  sockets.hold(socket)
  const { fd, isManagers } = socket
  const own = isManagers ? null : lstatSync(path).ino
  const setFile = (other: SocketFile): void => {
    if (own !== null) setSocketFile(path, own, other)
  }
  let isOpen = true
  const forget = (): void => {
    isOpen = false
    if (own !== null) removeFile(path, own)
    sockets.closed(socket)
  }
  const close = (): void => {
    // The number may be another's by now.
    if (!isOpen) return
    forget()
    if (!sockets.keep(socket)) closeDescriptor(fd)
  }
  try {
    // Nobody can connect before the workers listen.
    setFile(file)
  } catch (error) {
    close()
    throw error
  }
  return { fd, url: `unix:${path}`, isManagers, setFile, close, forget }
}

/** A socket whose descriptor may be given to a server, which closes it. */
interface UnixSocket {
  /** It is closed already. */
  readonly forget: () => void
}

async function bindPath(path: string): Promise<number> {
  const directory = dirname(path)
  if (!existsSync(directory)) throw new ListenError(`cannot listen on unix:${path}: there is no directory ${directory}`)
  await removeStaleSocket(path)
  const bound = bindSocket(path)
  if (bound.kind === 'failed') throw new ListenError(`cannot listen on unix:${path}: ${codeText(bound.code)}`)
  return bound.fd
}

/** Removes the file `own`; the name may be another's by now. */
function removeFile(path: string, own: number): void {
  if (sockets.isOthers(path)) return
  if (lstatSync(path, { throwIfNoEntry: false })?.ino === own) unlinkSync(path)
}

/** Of Linux: for a descriptor that stands for a file of any kind, and does not open it. */
const O_PATH = 0o10000000

/** Sets those of the file `own`: who may write to the directory may have put another one in its place, or a link to one. */
function setSocketFile(path: string, own: number, { mode, owner, group }: SocketFile): void {
  let fd = -1
  try {
    const uid = owner === null ? UNCHANGED : idOf(owner, '/etc/passwd')
    const gid = group === null ? UNCHANGED : idOf(group, '/etc/group')
    fd = openSync(path, O_PATH | constants.O_NOFOLLOW)
    if (fstatSync(fd).ino !== own)
      throw new ListenError(`cannot give unix:${path} its owner and mode: its file is gone`)
    const file = `/proc/self/fd/${fd}`
    chownSync(file, uid, gid)
    chmodSync(file, mode)
  } catch (cause) {
    if (cause instanceof ListenError) throw cause
    if (cause instanceof AccountUnknownError) throw new ListenError(cause.message, { cause })
    throw new ListenError(`cannot give unix:${path} its owner and mode: ${codeText(codeOf(cause))}`, { cause })
  } finally {
    if (fd !== -1) closeDescriptor(fd)
  }
}

/**
 * Has `server` listen on a Unix socket for one user alone, whose file goes when the server closes.
 * @param owner that user; null: this process's
 * @throws {ListenError}
 */
export async function listenPrivately(server: Server, path: string, owner: Account | null): Promise<void> {
  const file = { mode: 0o600, owner: owner?.uid ?? null, group: owner?.gid ?? null }
  await listenOnUnix(server, path, await bindUnix(path, file))
}

/** The descriptor is the server's from now on. */
async function listenOnUnix(
  server: Server,
  path: string,
  { fd, forget }: { readonly fd: number } & UnixSocket,
): Promise<void> {
  server.once('close', forget)
  await begin(server, path, (listening) => server.listen({ fd }, listening))
}

/** Has `server` listen at `key` by `listen`, or do so when this process serves: see `Sockets`. */
async function begin(server: Server, key: string, listen: (listening: () => void) => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  if (sockets.takeOver(key, () => listen(resolve))) await promise
}

/** `chown` leaves alone what this stands for. */
const UNCHANGED = -1

/**
 * Has `server`, which is this process's own, listen at `address`.
 * @returns where that is, as a URL
 * @throws {ListenError}
 */
export async function listenAt(server: Server, address: ListenAddress, file: SocketFile): Promise<string> {
  if (address.kind === 'unix') {
    const bound = await bindUnix(address.path, file)
    await listenOnUnix(server, address.path, bound)
    return bound.url
  }
  const { handle, socket, url } = await tcpHandle(address.host, address.port)
  server.once('close', () => sockets.closed(socket))
  await begin(server, socket.key, (listening) => server.listen(handle, listening))
  return url
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

function errorText(code: number): string {
  return codeText(util.getSystemErrorName(code))
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

function codeText(code: string): string {
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return 'not permitted; choose another port or path, or run as root'
    case 'EADDRINUSE':
      return 'the address is in use by another program'
    case 'EADDRNOTAVAIL':
      return 'this machine does not have that address'
    case 'ENOENT':
      return 'its directory does not exist'
    default:
      return code
  }
}
