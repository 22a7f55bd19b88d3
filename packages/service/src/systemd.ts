// Sockets that systemd has opened for this process (sd_listen_fds(3)).

import { fstatSync, readFileSync } from 'node:fs'
import { CHANNEL_SUFFIX, setCloseOnExec } from '@xengate/channel'
import { ServiceError } from './errors.ts'
import type { ServiceSocket } from './sockets.ts'

const FIRST_FD = 3

/** What systemd has opened: the plain socket, and the one for channels. */
export interface GivenSockets {
  readonly plain: ServiceSocket | null
  readonly channel: ServiceSocket | null
}

/**
 * Takes the sockets that this process was given, if any, and their variables out of `env`. The one for channels is told by a
 * FileDescriptorName, or else a path, that ends in `.channel`.
 *
 * @throws {ServiceError} when there are more than the two
 */
export function takeGivenSockets(env: NodeJS.ProcessEnv): GivenSockets | null {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = env
  // They are this process's only; a child could take them for its own.
  delete env['LISTEN_PID']
  delete env['LISTEN_FDS']
  delete env['LISTEN_FDNAMES']
  const count = Number(LISTEN_FDS)
  if (Number(LISTEN_PID) !== process.pid || !Number.isInteger(count) || count < 1) return null
  const names = LISTEN_FDNAMES?.split(':') ?? []
  const given: { plain: ServiceSocket | null; channel: ServiceSocket | null } = { plain: null, channel: null }
  for (let index = 0; index < count; index++) {
    const fd = FIRST_FD + index
    setCloseOnExec(fd)
    const which = isChannel(fd, names[index] ?? '') ? 'channel' : 'plain'
    if (given[which] !== null) {
      throw new ServiceError(
        'sockets-unusable',
        `cannot use what systemd passed: ${count} sockets, of which more than one is the ${which} one; a service has one ` +
          `ListenStream for its name and one for its name with "${CHANNEL_SUFFIX}"`,
      )
    }
    given[which] = { fd, path: null, removeFile: () => {} }
  }
  return given
}

function isChannel(fd: number, name: string): boolean {
  return name.endsWith(CHANNEL_SUFFIX) || pathOf(fd).endsWith(CHANNEL_SUFFIX)
}

/** Where the Unix socket `fd` is bound; empty when it is bound to no path. */
function pathOf(fd: number): string {
  const inode = String(fstatSync(fd).ino)
  for (const line of readFileSync('/proc/net/unix', 'utf8').split('\n')) {
    // Num RefCount Protocol Flags Type St Inode Path
    const fields = line.trim().split(/\s+/)
    if (fields[6] === inode) return fields.slice(7).join(' ')
  }
  return ''
}
