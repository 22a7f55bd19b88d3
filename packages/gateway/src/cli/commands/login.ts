// xengate login, logout: opens a session at a gateway and keeps it for the commands that call services, and ends it.

import { GatewayError, login as signIn, session } from '@xengate/client'
import { resolve } from 'node:path'
import { CliError, EXIT } from '../errors.ts'
import { type Io, say } from '../io.ts'
import { askLine, readPassword } from '../password.ts'
import { forgetSession, keepSession, keptSession, type KeptSession, sessionFile, trustOf } from '../session-file.ts'
import { trust, type TrustOptions } from '../trust.ts'

export interface LoginOptions extends TrustOptions {
  readonly user?: string
  readonly passwordStdin?: boolean
}

/** How the gateway's records call this program. */
const ORIGINATOR = 'xengate'

export async function login(url: string, options: LoginOptions, io: Io): Promise<number> {
  const origin = originOf(url)
  trust(options, io)
  const before = keptSession(io)
  const user = options.user ?? (await askUser(io))
  const password = await readPassword(options.passwordStdin === true, `Password of ${user}: `, io)
  const gateway = await signIn(origin, { user, password, originator: ORIGINATOR }).catch((error: unknown) => {
    throw explained(error)
  })
  const { ca, insecure } = options
  const kept: KeptSession = {
    url: origin,
    user,
    id: gateway.sessionId ?? '',
    ca: ca === undefined ? null : resolve(io.cwd, ca),
    isInsecure: insecure === true,
  }
  keepSession(kept, io)
  if (before !== null) await endBefore(before, kept, io)
  say(io, `signed in at ${origin} as ${user}; the session is in ${sessionFile(io)}`)
  return EXIT.ok
}

/** The one before would be live for a day, and nobody would have it. It is shown only where it would have been by itself. */
async function endBefore(before: KeptSession, { url, ca, isInsecure }: KeptSession, io: Io): Promise<void> {
  const isBelievedAsThen = before.ca === ca && before.isInsecure === isInsecure
  if (before.url !== url && !isBelievedAsThen) {
    say(
      io,
      `the earlier session at ${before.url} was not ended, since other certificates are trusted now: it ends when it is unused`,
    )
    return
  }
  await session(before.url, before.id)
    .logout()
    .catch(() => {})
}

export async function logout(io: Io): Promise<number> {
  const kept = keptSession(io)
  if (kept === null) {
    say(io, 'nobody is signed in')
    return EXIT.ok
  }
  trust(trustOf(kept), io)
  forgetSession(io)
  try {
    await session(kept.url, kept.id).logout()
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new CliError('session-left', `the session at ${kept.url} could not be ended: ${why}`, { cause: error })
  }
  say(io, `signed out at ${kept.url}`)
  return EXIT.ok
}

function originOf(url: string): string {
  const parsed = URL.parse(url)
  if (parsed !== null && /^https?:$/.test(parsed.protocol) && parsed.host !== '') return parsed.origin
  throw new CliError('url-invalid', `${url} is not the URL of a gateway`)
}

async function askUser(io: Io): Promise<string> {
  if (io.stdin.isTTY !== true)
    throw new CliError('user-missing', 'cannot ask for the user: standard input is not a terminal')
  const user = (await askLine('User: ', io)).trim()
  if (user === '') throw new CliError('user-missing', 'no user was given')
  return user
}

function explained(error: unknown): unknown {
  if (!(error instanceof GatewayError)) return error
  if (error.code === 'sign-in-refused') return new CliError('sign-in-refused', error.message, { cause: error })
  return callFailure(error)
}

/** Codes that have reasons which only the gateway knows. */
const EXPLAINED = /^(?:service|response|gateway)-/

/** What a call has come to, for the person at the terminal. @param help where to read about it */
export function callFailure(error: GatewayError, help: string | null = null): CliError {
  const { code, message, requestId } = error
  if (code === 'session-invalid' || code === 'session-missing' || code === 'session-ended' || code === 'status-401') {
    return new CliError('session-needed', 'the session is over', { cause: error })
  }
  if (code === 'certificate-unknown') return new CliError('certificate-unknown', message, { cause: error })
  if (code === 'unreachable') {
    const isPlain = /WRONG_VERSION_NUMBER|PACKET_LENGTH/.test(message)
    const advice = isPlain ? { advice: 'this port seems not to speak HTTPS: give http:// in place of https://' } : {}
    return new CliError('gateway-unreachable', message, { cause: error, ...advice })
  }
  if (requestId === null) return new CliError('call-failed', message, { cause: error, shownCode: code, help })
  const advice = `xengate explain ${requestId} says more, on the gateway's host or to an administrator`
  return new CliError('call-failed', `${message} (request ${requestId})`, {
    cause: error,
    shownCode: code,
    help,
    ...(EXPLAINED.test(code) && { advice }),
  })
}
