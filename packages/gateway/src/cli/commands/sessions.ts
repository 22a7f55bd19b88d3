// xengate sessions, xengate session end: who is signed in at the embedded authority or the authority valkey.

import type { SessionRecord } from '../../sessions/accounts/sign-in.ts'
import { existing, withAccounts } from '../accounts.ts'
import { type ControlOptions, openControl } from '../control.ts'
import { tellDaemon } from '../daemon.ts'
import { repeatedly } from '../watch.ts'
import { CliError, EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { accountPlace } from '../state.ts'
import { columns, spanText, timeText } from '../table.ts'

const HEADINGS = ['ID', 'USER', 'ORIGINATOR', 'ADDRESS', 'SIGNED IN (UTC)', 'IDLE']

export interface SessionsOptions extends ControlOptions {
  readonly json?: boolean
  readonly minimal?: boolean
  readonly watch?: boolean
}

export async function listSessions(options: SessionsOptions, io: Io): Promise<number> {
  return repeatedly(options.watch === true, io, () => listOnce(options, io))
}

async function listOnce(options: SessionsOptions, io: Io): Promise<number> {
  const told = await toldSessions(options, io)
  if (!(told instanceof CliError)) return showTold(told, options, io)
  const place = existing(await accountPlace(options, io))
  say(io, `${told.message}: these are the sessions that are kept`)
  const records = await withAccounts(place, ({ sessions }) => sessions.list())
  if (options.json === true) print(io, JSON.stringify(records.map(asData), null, 2))
  else if (options.minimal === true) print(io, records.map(({ session }) => session.uuid).join(','))
  else if (records.length === 0) say(io, 'nobody is signed in')
  else for (const line of columns([HEADINGS, ...records.map((record) => cellsOf(record, Date.now()))])) print(io, line)
  return EXIT.ok
}

/** A session as a running gateway tells of it. */
interface ToldSession {
  readonly id: string
  readonly user: string
  readonly originator: string
  readonly address: string | null
  readonly since: string | null
  readonly lastActive: string
  readonly under: Readonly<Record<'requests' | 'tunnels' | 'channels', number>>
}

interface ToldSessions {
  readonly sessions: readonly ToldSession[]
  /** How many there are; those used last are told. */
  readonly count: number
}

/** What the running gateway tells, or why it does not, where none runs here or it may not be asked: then the store is read. */
async function toldSessions(options: SessionsOptions, io: Io): Promise<ToldSessions | CliError> {
  try {
    const control = await openControl(options, io)
    return (await control.ask('GET', '/sessions')) as unknown as ToldSessions
  } catch (error) {
    const isElsewhere = options.url !== undefined
    if (isElsewhere || !(error instanceof CliError) || !/^(?:daemon|state|control)-/.test(error.code)) throw error
    return error
  }
}

function showTold({ sessions: told, count }: ToldSessions, { json, minimal }: SessionsOptions, io: Io): number {
  const isUsed = told.some(({ under }) => under.requests + under.tunnels + under.channels > 0)
  const headings = isUsed ? [...HEADINGS, 'UNDER WAY'] : HEADINGS
  const cells = told.map(({ id, user, originator, address, since, lastActive, under }) => [
    id,
    user,
    originator || '-',
    address || '-',
    since === null ? '-' : timeText(Date.parse(since)),
    spanText(Date.now() - Date.parse(lastActive)),
    ...(isUsed ? [runsText(under)] : []),
  ])
  if (json === true) print(io, JSON.stringify(told, null, 2))
  else if (minimal === true) print(io, told.map(({ id }) => id).join(','))
  else if (told.length === 0) say(io, 'nobody is signed in')
  else for (const line of columns([headings, ...cells])) print(io, line)
  if (count > told.length) say(io, `these are the ${told.length} sessions that were used last, of ${count}`)
  return EXIT.ok
}

function runsText(under: ToldSession['under']): string {
  const parts = Object.entries(under).filter(([, count]) => count > 0)
  return parts.length === 0 ? '-' : parts.map(([what, count]) => `${count} ${what}`).join(', ')
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
export async function endSession(id: string, options: ControlOptions, io: Io): Promise<number> {
  if (options.url !== undefined) {
    const control = await openControl(options, io)
    await control.ask('POST', `/sessions/${encodeURIComponent(id)}/end`)
    say(io, `ended the session ${id}`)
    return EXIT.ok
  }
  const place = existing(await accountPlace(options, io))
  const { uuid, user } = await withAccounts(place, async ({ sessions }) => {
    const found = only(id, await sessions.list())
    if ((await sessions.end([found.uuid])) === 0) throw unknown(id)
    return found
  })
  await tellDaemon(place, { event: 'sessions-ended', user, sessions: [uuid] }, io)
  say(io, `ended the session ${uuid} of ${user}`)
  return EXIT.ok
}

/** Fewer characters of an id are a slip of the hand rather than a choice. */
const ID_MIN = 4

function only(id: string, records: readonly SessionRecord[]): SessionRecord['session'] {
  if (id.length < ID_MIN) throw new CliError('session-ambiguous', `${id} is too short to name a session`)
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
