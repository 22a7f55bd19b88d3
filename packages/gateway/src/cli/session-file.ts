// The session that `xengate login` keeps for the commands that call services: one, in a file of the user's own.

import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { CliError } from './errors.ts'
import type { Io } from './io.ts'
import type { TrustOptions } from './trust.ts'

/** What is kept. */
export interface KeptSession {
  /** The gateway's origin. */
  readonly url: string
  readonly user: string
  /** The session's id. */
  readonly id: string
  /** File of certificates that are trusted beside the system's; null: none. */
  readonly ca: string | null
  /** Whether no certificate is looked at. */
  readonly isInsecure: boolean
}

/** What the kept session was opened with. */
export function trustOf({ ca, isInsecure }: KeptSession): TrustOptions {
  return { ...(ca !== null && { ca }), ...(isInsecure && { insecure: true }) }
}

/** `$XDG_CONFIG_HOME/xengate/session.json`, or the same in `~/.config`. */
export function sessionFile({ env }: Io): string {
  const configured = env['XDG_CONFIG_HOME'] ?? ''
  return join(
    configured.startsWith('/') ? configured : join(env['HOME'] ?? homedir(), '.config'),
    'xengate/session.json',
  )
}

/** What is kept, or null. @throws {CliError} `session-file-unusable` */
export function keptSession(io: Io): KeptSession | null {
  const path = sessionFile(io)
  try {
    return checked(JSON.parse(readFileSync(path, 'utf8')))
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')) return null
    throw unusable('read', path, cause)
  }
}

function checked(kept: unknown): KeptSession {
  const { url, user, id, ca = null, isInsecure = false } = kept as Readonly<Record<string, unknown>>
  if (typeof url !== 'string' || typeof user !== 'string' || typeof id !== 'string')
    throw new TypeError('it has no session')
  return { url, user, id, ca: typeof ca === 'string' ? ca : null, isInsecure: isInsecure === true }
}

/** Keeps a session in place of the one before; nobody else can read it at any time. @throws {CliError} `session-file-unusable` */
export function keepSession(kept: KeptSession, io: Io): void {
  const path = sessionFile(io)
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const fresh = `${path}.${process.pid}`
    writeFileSync(fresh, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 })
    chmodSync(fresh, 0o600)
    renameSync(fresh, path)
  } catch (cause) {
    throw unusable('write', path, cause)
  }
}

export function forgetSession(io: Io): void {
  rmSync(sessionFile(io), { force: true })
}

function unusable(verb: string, path: string, cause: unknown): CliError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new CliError('session-file-unusable', `cannot ${verb} ${path}: ${why}`, { cause })
}
