// xengate sessions, xengate session end: who is signed in at the embedded authority or the authority valkey.

import type { SessionRecord } from '../../sessions/accounts/sign-in.ts'
import { existing, withAccounts } from '../accounts.ts'
import { tellDaemon } from '../daemon.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { accountPlace, type StateOptions } from '../state.ts'
import { columns, spanText, timeText } from '../table.ts'

const HEADINGS = ['ID', 'USER', 'ORIGINATOR', 'ADDRESS', 'SINCE (UTC)', 'IDLE']

export interface SessionsOptions extends StateOptions {
  readonly json?: boolean
  readonly minimal?: boolean
}

export async function listSessions(options: SessionsOptions, io: Io): Promise<number> {
  const place = existing(await accountPlace(options, io))
  const records = await withAccounts(place, ({ sessions }) => sessions.list())
  if (options.json === true) print(io, JSON.stringify(records.map(asData), null, 2))
  else if (options.minimal === true) print(io, records.map(({ session }) => session.uuid).join(','))
  else if (records.length === 0) say(io, 'nobody is signed in')
  else for (const line of columns([HEADINGS, ...records.map((record) => cellsOf(record, Date.now()))])) print(io, line)
  return EXIT.ok
}

function asData({ session, clientAddress, createdMs, lastActiveMs }: SessionRecord): Readonly<Record<string, unknown>> {
  return {
    id: session.uuid,
    user: session.user,
    roles: session.roles,
    originator: session.originator,
    address: clientAddress,
    since: new Date(createdMs).toISOString(),
    lastActive: new Date(lastActiveMs).toISOString(),
  }
}

function cellsOf({ session, clientAddress, createdMs, lastActiveMs }: SessionRecord, nowMs: number): string[] {
  const { uuid, user, originator } = session
  return [uuid, user, originator || '-', clientAddress || '-', timeText(createdMs), spanText(nowMs - lastActiveMs)]
}

/** @param id the session's uuid, or the beginning of it */
export async function endSession(id: string, options: StateOptions, io: Io): Promise<number> {
  const place = existing(await accountPlace(options, io))
  const { uuid, user } = await withAccounts(place, async ({ sessions }) => {
    const found = only(id, await sessions.list())
    if ((await sessions.end([found.uuid])) === 0) throw unknown(id)
    return found
  })
  await tellDaemon(place.stateDir, { event: 'sessions-ended', user, sessions: [uuid] }, io)
  say(io, `ended the session ${uuid} of ${user}`)
  return EXIT.ok
}

function only(id: string, records: readonly SessionRecord[]): SessionRecord['session'] {
  const found = records.filter(({ session }) => session.uuid.startsWith(id.toLowerCase()))
  if (found.length > 1)
    throw new CliError('session-ambiguous', `${found.length} sessions have ids that begin with ${id}`)
  const [first] = found
  if (first === undefined) throw unknown(id)
  return first.session
}

/** A session id is a secret, which is given here by mistake: it is not repeated. */
function unknown(id: string): CliError {
  const which = /^[0-9a-f-]{1,36}$/i.test(id)
    ? `with the id ${id}`
    : 'with such an id: it is the first column of xengate sessions'
  return new CliError('session-unknown', `there is no session ${which}`)
}
