// A service manager that listens, as systemd does.

import { Child } from './child.ts'
import type { Scope } from './scope.ts'

/** Prints each datagram that comes to the socket argv[1] as a line, in the form of Python. */
const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
while True: print(repr(s.recv(65536)), flush=True)
`

/** What is sent to the socket at `path`, a line for each datagram. */
export async function startManager(scope: Scope, path: string): Promise<Child> {
  const child = new Child(scope, 'python3', ['-c', RECEIVER, path])
  await child.printed(({ stdout }) => (stdout.startsWith('bound') ? true : undefined), 'its socket')
  return child
}
