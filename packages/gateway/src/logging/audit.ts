// The audit: who changed what, in the form of xapi's own (rbac_audit.ml of xapi), so that what goes past xapi is not missing from the
// host's audit.log. A record is
//
//   ('trackid=MD5 of the session' 'subject' 'user' 'ALLOWED|DENIED' 'OK|ERROR:code' 'HTTP|API' 'action' (('name' 'value' '' '') ...))

import { type AccessFields, type ChannelFields, type LoggedCaller, pathForLog } from './access.ts'
import { SYSLOG_SOCKET, SyslogWriter } from './syslog.ts'

/** Refused requests of nobody that are told of in one second: whoever floods the gateway does not fill the disk by it. */
const STRANGERS_A_SECOND = 10
/** Of a value, as many characters, and of values in all. */
const TEXT_LENGTH_MAX = 400
const TEXTS_LENGTH_MAX = 1200
/** What requests are logged under that are for no custom service. */
const NOT_SERVICES: ReadonlySet<string | null> = new Set(['xapi', 'xenapi'])

type Argument = readonly [name: string, value: string]

/** Writes records; each process has its own. */
export class Audit {
  readonly #lines: SyslogWriter
  #strangers = 0
  #second = 0

  /** @param path of syslog's socket */
  constructor(path: string = SYSLOG_SOCKET) {
    this.#lines = new SyslogWriter(path, 'local6', (lines) =>
      record(null, true, 'ERROR:records-lost', 'API', 'audit', [['records', String(lines)]]),
    )
  }

  /**
   * Takes a request that is over: what may have changed something, and what was refused, is recorded. Not what went on to a XenAPI: xapi
   * audits its calls itself, by what they do, and so does the gateway's own.
   */
  request(fields: AccessFields): void {
    const isRefused = fields.outcome === 'refused'
    const isRead = fields.method === 'GET' || fields.method === 'HEAD'
    if (!isRefused && (isRead || NOT_SERVICES.has(fields.service))) return
    if (fields.caller === null && !this.#mayTellOfStranger()) return
    const isAllowed = !isRefused
    const result = fields.outcome === 'complete' ? 'OK' : `ERROR:${fields.reason ?? fields.outcome}`
    const action = `http/${(fields.method ?? 'none').toLowerCase()}_services`
    this.#write(record(fields.caller, isAllowed, result, 'HTTP', action, requestArguments(fields)))
  }

  /** Takes a channel that is over: its requests went past the gateway, which knows of them what the service counted. */
  channel({ channel, client, caller, service, requests, bytesIn, bytesOut, outcome, reason }: ChannelFields): void {
    const result = outcome === 'complete' ? 'OK' : `ERROR:${reason ?? outcome}`
    const counts = Object.entries({ requests, bytesIn, bytesOut }).map(([name, count]): Argument => [
      name,
      String(count),
    ])
    const named: readonly Argument[] = [['service', service], ['client', client], ['channel', channel], ...counts]
    this.#write(record(caller, true, result, 'HTTP', 'http/channel_services', named))
  }

  /** Takes an act of an administrator, or of who signs in: what, and its particulars. */
  act(action: string, particulars: Readonly<Record<string, unknown>>): void {
    const isFailure = action.endsWith('-failed')
    if (isFailure && !this.#mayTellOfStranger()) return
    const named = Object.entries(particulars).map(([name, value]): Argument => [name, textOf(value)])
    this.#write(record(null, !isFailure, isFailure ? 'ERROR' : 'OK', 'API', action, named))
  }

  #mayTellOfStranger(): boolean {
    const second = Math.floor(performance.now() / 1000)
    if (second !== this.#second) {
      const left = this.#strangers - STRANGERS_A_SECOND
      this.#second = second
      this.#strangers = 0
      if (left > 0) this.#write(record(null, false, 'ERROR:many', 'HTTP', 'http/refused', [['requests', String(left)]]))
    }
    return ++this.#strangers <= STRANGERS_A_SECOND
  }

  #write(text: string): void {
    this.#lines.add(text, 'info')
  }
}

function requestArguments({ service, path, status, client, requestId }: AccessFields): readonly Argument[] {
  return [
    ['service', service ?? ''],
    ['path', path === null ? '' : pathForLog(path)],
    ['status', String(status)],
    ['client', client],
    ['request', requestId],
  ]
}

function record(
  caller: LoggedCaller | null,
  isAllowed: boolean,
  result: string,
  type: 'HTTP' | 'API',
  action: string,
  named: readonly Argument[],
): string {
  const words = [
    caller === null ? '' : `trackid=${caller.trackId}`,
    caller === null ? '' : subjectOf(caller),
    caller === null ? '' : caller.session.user,
    isAllowed ? 'ALLOWED' : 'DENIED',
    result,
    type,
    action,
  ]
  let left = TEXTS_LENGTH_MAX
  const list = named.map(([name, value]) => {
    const text = value.slice(0, Math.min(TEXT_LENGTH_MAX, left))
    left -= text.length
    return `(${[name, text, '', ''].map(quoted).join(' ')})`
  })
  return `[ info||${process.pid} ||audit] (${words.map(quoted).join(' ')} (${list.join(' ')}))`
}

function subjectOf({ session }: LoggedCaller): string {
  return session.isLocalSuperuser ? 'LOCAL_SUPERUSER' : session.subject
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** A string of an s-expression: no text ends it, or the line. */
function quoted(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it is about
  const visible = text.replace(/[\u0000-\u001f\u007f]/g, ' ')
  return `'${visible.replace(/[\\']/g, '\\$&')}'`
}
