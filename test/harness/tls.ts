// TLS in front of a daemon: stunnel, as hosts have it.

import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { TlsFiles } from '../../packages/gateway/src/process/tls-files.ts'
import { Child } from './child.ts'
import type { Scope } from './scope.ts'

export { makeCertificate } from '../../packages/gateway/src/proxy/testing/certificate.ts'

/** stunnel, which passes what it gets on to `connect` (host:port or a path), with the PROXY line. @returns its own address */
export async function startStunnel(scope: Scope, connect: string, files: TlsFiles): Promise<string> {
  const directory = await scope.directory()
  const port = await freePort()
  const configuration = join(directory, 'stunnel.conf')
  const lines = ['foreground = yes', 'pid =', 'debug = 5', 'syslog = no', '[front]', `accept = 127.0.0.1:${port}`]
  const service = [`connect = ${connect}`, 'protocol = proxy', `cert = ${files.certificate}`, `key = ${files.key}`]
  await writeFile(configuration, `${[...lines, ...service].join('\n')}\n`)
  const stunnel = new Child(scope, 'stunnel', [configuration])
  await stunnel.printed(({ stderr }) => stderr.includes('Configuration successful') || undefined, 'its start')
  return `https://127.0.0.1:${port}`
}

/** A port of the loopback that is free now, for what cannot let the system choose, or has to keep it. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
