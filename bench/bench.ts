// What a run sets up once: the C programs, the service behind every peer, and a session for the peers that are no Xengate.

import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Host, Started } from './host.ts'

/** Services of the case with many. */
export const SERVICES = 500

/** Name of the service that most cases ask. */
export const SERVICE = 'org.bench.service'

/** The C programs in native/, compiled. */
export interface Programs {
  readonly service: string
  readonly load: string
  readonly plugin: string
  readonly forkExec: string
  readonly systemCall: string
}

/** What every peer and every case is given. */
export interface Bench {
  readonly host: Host
  readonly programs: Programs
  /** Directory of the services' sockets. */
  readonly services: string
  /** Unix socket of the service. */
  readonly socket: string
  /** File with the one session id that the other peers know. */
  readonly sessions: string
}

/** Sets up everything that peers share. */
export async function setUp(host: Host): Promise<Bench> {
  const [service, load, plugin, forkExec, systemCall] = await Promise.all(
    ['service', 'load', 'plugin', 'fork-exec', 'system-call'].map((name) => compile(host, name)),
  )
  const programs = { service, load, plugin, forkExec, systemCall } as Programs
  const services = host.makeDirectory('services')
  const socket = join(services, SERVICE)
  const sessions = writeSessions(host, [newSessionId()])
  await startService(host, programs, 'load', ['-u', socket, '-d', services, '-n', String(SERVICES)])
  return { host, programs, services, socket, sessions }
}

async function compile(host: Host, name: string): Promise<string> {
  const program = host.path(name)
  const source = join(import.meta.dirname, 'native', `${name}.c`)
  await host.run('both', 'gcc', ['-O2', '-o', program, source, '-lm'])
  return program
}

/** Starts the service, or with -k the checker. @returns it and its TCP port, -1 without one */
export async function startService(
  host: Host,
  programs: Programs,
  place: 'peer' | 'load',
  argv: readonly string[],
): Promise<Started & { readonly port: number }> {
  const started = host.start(place, programs.service, argv)
  const port = await host.printed(started, (output) => /^ready (-?\d+)$/m.exec(output)?.[1])
  return { ...started, port: Number(port) }
}

/** A session id such as xapi and Xengate make. */
export function newSessionId(): string {
  return `OpaqueRef:${randomUUID()}`
}

/** Writes session ids for the load and for peers. @returns the file */
export function writeSessions(host: Host, ids: readonly string[]): string {
  const path = host.path('sessions')
  writeFileSync(path, `${ids.join('\n')}\n`, { mode: 0o600 })
  return path
}
