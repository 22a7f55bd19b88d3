// The two sockets of a service: their files are made, and removed again, here.

import { chmodSync, chownSync, lstatSync, readFileSync, statSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import { bindSocket, closeDescriptor, isAnswered } from '@xengate/channel'
import { CHANNEL_SUFFIX, SERVICE_NAME_PATTERN } from '@xengate/channel/contract'
import { ServiceError } from './errors.ts'

/** Checks that `name` can be a service's. @throws {ServiceError} when it cannot */
export function checkName(name: string): void {
  if (!SERVICE_NAME_PATTERN.test(name)) {
    throw new ServiceError(
      'name-invalid',
      `cannot serve as "${name}": a name is 1 to 100 letters, digits, ".", "_" and "-", and starts with neither "." nor "-"`,
    )
  }
  if (name.endsWith(CHANNEL_SUFFIX)) {
    throw new ServiceError(
      'name-invalid',
      `cannot serve as "${name}": leave out "${CHANNEL_SUFFIX}", which the second socket is named by`,
    )
  }
}

/** A socket to listen on. */
export interface ServiceSocket {
  readonly fd: number
  /** Null when it was given, and its path is somebody else's matter. */
  readonly path: string | null
  /** Removes its file, if it is still this socket's. */
  removeFile(): void
}

/** Binds a socket at `path`, in the place of one that nobody listens on. @throws {ServiceError} when that cannot be */
export async function bindServiceSocket(path: string, mode: number, gid: number | null): Promise<ServiceSocket> {
  await removeStale(path)
  const bound = bindSocket(path)
  if (bound.kind === 'failed') throw refused(path, bound.code)
  // Nobody can connect before somebody listens, and that comes after this.
  try {
    chmodSync(path, mode)
    if (gid !== null) chownSync(path, -1, gid)
  } catch (error) {
    unlinkSync(path)
    closeDescriptor(bound.fd)
    throw new ServiceError('socket-refused', `cannot set mode and group of ${path}: ${codeOf(error)}`, { cause: error })
  }
  const { ino: own } = lstatSync(path)
  return {
    fd: bound.fd,
    path,
    removeFile: () => {
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === own) unlinkSync(path)
    },
  }
}

async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) {
    throw new ServiceError(
      'socket-obstructed',
      `cannot listen on ${path}: a file that is no socket is there; remove it`,
    )
  }
  if (await isAnswered(path)) {
    throw new ServiceError(
      'socket-in-use',
      `cannot listen on ${path}: another program is listening there; stop it first, or choose another name`,
    )
  }
  unlinkSync(path)
}

function refused(path: string, code: string): ServiceError {
  switch (code) {
    case 'EADDRINUSE':
      return new ServiceError('socket-in-use', `cannot listen on ${path}: another program has just taken it`)
    case 'ENOENT':
      return new ServiceError('socket-refused', `cannot listen on ${path}: make the directory ${dirname(path)} first`)
    case 'EACCES':
      return new ServiceError('socket-refused', `cannot listen on ${path}: this user may not write to ${dirname(path)}`)
    case 'ENAMETOOLONG':
      return new ServiceError('socket-refused', `cannot listen on ${path}: the path is longer than 107 bytes`)
    default:
      return new ServiceError('socket-refused', `cannot listen on ${path}: ${code}`)
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

const USERS = '/etc/passwd'
const GROUPS = '/etc/group'
const ID_FIELD = 2

/** Id of a user on this machine, or null when there is none of that name. */
export function userId(name: string): number | null {
  return idOf(name, USERS)
}

/** Id of a group on this machine. @throws {ServiceError} when there is none of that name */
export function groupId(group: string | number): number {
  if (typeof group === 'number') return group
  const id = idOf(group, GROUPS)
  if (id === null) {
    throw new ServiceError(
      'options-invalid',
      `cannot give the sockets to group "${group}": ${GROUPS} has no such group`,
    )
  }
  return id
}

/** The id in the line of `name` in `file`, which has it in the same place for users and for groups; null when there is none. */
function idOf(name: string, file: string): number | null {
  const line = readFileSync(file, 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`${name}:`))
  const id = Number(line?.split(':')[ID_FIELD])
  return name === '' || !Number.isInteger(id) ? null : id
}

/** Whether `path` is a directory. @throws {ServiceError} when it is not */
export function checkDirectory(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new ServiceError(
      'socket-refused',
      `cannot listen in ${path}: there is no such directory; is the gateway started? Give the directory that it looks in`,
    )
  }
}
