// xengate blocked, xengate unblock: whose sign-ins a running daemon slows down because of wrong passwords.

import type { HeldUp } from '../../sessions/accounts/throttle.ts'
import { askDaemon, daemonText } from '../daemon.ts'
import { EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { accountPlace, type NamedState, type StateOptions } from '../state.ts'
import { columns } from '../table.ts'

const HEADINGS = ['USER', 'ADDRESS', 'WRONG PASSWORDS', 'NEXT ATTEMPT']

function notRunning(state: NamedState): string {
  return `${daemonText(state)} is not running: nobody is held up, since wrong passwords are forgotten when it stops`
}

export async function listBlocked(options: StateOptions & { readonly json?: boolean }, io: Io): Promise<number> {
  const place = await accountPlace(options, io)
  const blocked = (await askDaemon(place, 'GET', '/held-up')) as readonly HeldUp[] | null
  if (options.json === true) print(io, JSON.stringify(blocked ?? [], null, 2))
  if (blocked === null) say(io, notRunning(place))
  else if (options.json !== true) show(blocked, io)
  return EXIT.ok
}

function show(blocked: readonly HeldUp[], io: Io): void {
  if (blocked.length === 0) say(io, 'nobody is held up')
  else for (const line of columns([HEADINGS, ...blocked.map(cellsOf)])) print(io, line)
}

function cellsOf({ kind, name, address, failures, seconds }: HeldUp): string[] {
  const next =
    kind === 'name' ? 'in turns, at addresses that it has not signed in from' : seconds === 0 ? 'now' : `in ${seconds}s`
  return [name ?? '(any)', address ?? '(any)', String(failures), next]
}

export interface UnblockOptions extends StateOptions {
  readonly user?: string
  readonly address?: string
  readonly all?: boolean
}

export async function unblock({ user, address, ...options }: UnblockOptions, io: Io): Promise<number> {
  const place = await accountPlace(options, io)
  const query = new URLSearchParams({
    ...(user !== undefined && { name: user }),
    ...(address !== undefined && { address }),
  })
  const left = (await askDaemon(place, 'DELETE', `/held-up?${query.toString()}`)) as readonly HeldUp[] | null
  if (left === null) say(io, notRunning(place))
  else
    say(
      io,
      `forgot wrong passwords; held up now: ${left.length === 0 ? 'nobody' : `${left.length}, see xengate blocked`}`,
    )
  return EXIT.ok
}
