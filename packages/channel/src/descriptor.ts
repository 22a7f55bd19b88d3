// Small things that Node.js does not do with a descriptor by its number.

import { close, F_SETFD, fcntl, FD_CLOEXEC } from './libc.ts'

/** Closes a descriptor that was received and is not wanted, or was bound and is not used. */
export function closeDescriptor(fd: number): void {
  close(fd)
}

/** Keeps `fd` from programs that this process starts. */
export function setCloseOnExec(fd: number): void {
  fcntl(fd, F_SETFD, 'int', FD_CLOEXEC)
}
