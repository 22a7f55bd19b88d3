// What the gateway and a service have to read alike, so that a channel is no way around the gateway: names of services, where a
// request carries its session id, and which header fields only the gateway writes. Text in, text out: nothing here loads libc.

/** Where every request for a service starts. */
export const SERVICES_PREFIX = '/services/plugin/'

/** What is added to a service's name for its second socket, which takes channels. */
export const CHANNEL_SUFFIX = '.channel'

/** 1 to 100 of letters, digits, `.`, `_`, `-`, not starting with `.` or `-`. */
export const SERVICE_NAME_PATTERN: RegExp = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/

/**
 * Whether `text` can be the name of a service. Names are compared exactly and never decoded from percent-encoding.
 * One that ends in `.channel` names the second socket of a service and is none itself.
 */
export function isServiceName(text: string): boolean {
  return SERVICE_NAME_PATTERN.test(text) && !text.endsWith(CHANNEL_SUFFIX)
}

/** The fields that say who the caller is. */
export const IDENTITY_FIELDS = [
  'x-xen-session-user',
  'x-xen-session-subject',
  'x-xen-session-roles',
  'x-xen-session-originator',
] as const

/** The fields that say where a request comes from, and name it. */
export const FORWARDED_FIELDS = ['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-request-id'] as const

/** The fields that frame a message. */
const FRAMING_FIELDS = ['content-length', 'transfer-encoding', 'keep-alive', 'proxy-connection'] as const

const DISGUISED: ReadonlySet<string> = new Set([
  ...IDENTITY_FIELDS,
  ...FORWARDED_FIELDS,
  ...FRAMING_FIELDS,
  'sec-fetch-site',
])

/** Whether `name` is a known one with `_` for `-`: CGI and WSGI take both for one, so that no service gets it. Case does not count. */
export function isDisguise(name: string): boolean {
  return name.includes('_') && DISGUISED.has(name.toLowerCase().replaceAll('_', '-'))
}

/** Who the caller is, as the gateway says it. */
export interface Identity {
  readonly user: string
  readonly subject: string
  /** From the highest. */
  readonly roles: readonly string[]
  readonly originator: string
}

/** The identity fields, names and values in turn. */
export function identityFields({ user, subject, roles, originator }: Identity): string[] {
  return [
    'X-Xen-Session-User',
    fieldText(user),
    'X-Xen-Session-Subject',
    fieldText(subject),
    'X-Xen-Session-Roles',
    roles.join(', '),
    'X-Xen-Session-Originator',
    fieldText(originator),
  ]
}

/** Text as a field value: `%` and all but visible ASCII and inner spaces as percent-encoded UTF-8, so that no name can forge a field. */
function fieldText(text: string): string {
  return text.toWellFormed().replace(/[^!-$&-~ ]|^ | $/gu, (character) => encodeURIComponent(character))
}

/** Upgrades that would carry further HTTP requests, which the gateway would not see. */
const HTTP_IN_DISGUISE = /(?:^|[\s,])(?:h2c?|http|tls)(?:[\s,/]|$)/i

/** Whether a value of Upgrade asks for HTTP in another form: it is not passed on. */
export function isHttpInDisguise(upgrade: string | undefined): boolean {
  return upgrade !== undefined && HTTP_IN_DISGUISE.test(upgrade)
}

// The session id: as in xapi the cookie `session_id` goes first and is taken as it is, the query parameter of that name is
// percent-decoded, and of duplicates the first counts.

const SESSION = 'session_id'

/** The session id in the value of a Cookie field; undefined when it has none. */
export function sessionIdInCookie(value: string): string | undefined {
  if (value.startsWith(`${SESSION}=`) && !value.includes(';')) return value.slice(SESSION.length + 1)
  for (const pair of value.split(';')) {
    const [name, text] = split(pair.trim())
    if (name === SESSION) return text
  }
  return undefined
}

/** The session id in the query of a target; undefined when it has none. */
export function sessionIdInTarget(target: string): string | undefined {
  return parameterIn(target, SESSION)
}

/** The value of the query parameter `parameter` in a target, percent-decoded; undefined when it is not there. */
export function parameterIn(target: string, parameter: string): string | undefined {
  const start = target.indexOf('?')
  if (start === -1) return undefined
  for (const pair of target.slice(start + 1).split('&')) {
    const [name, text] = split(pair)
    if (percentDecoded(name) === parameter) return percentDecoded(text)
  }
  return undefined
}

/** The value of a Cookie field without the session id; empty when nothing is left. */
export function cookieWithoutSession(value: string): string {
  const pairs = value.split(';').map((pair) => pair.trim())
  return pairs.filter((pair) => pair !== '' && split(pair)[0] !== SESSION).join('; ')
}

/** `target` without the parameters that carry a session id. */
export function targetWithoutSession(target: string): string {
  const start = target.indexOf('?')
  if (start === -1) return target
  const pairs = target.slice(start + 1).split('&')
  const kept = pairs.filter((pair) => percentDecoded(split(pair)[0]) !== SESSION)
  if (kept.length === pairs.length) return target
  return kept.length === 0 ? target.slice(0, start) : `${target.slice(0, start)}?${kept.join('&')}`
}

/** `name=text` as its two parts; without `=` the text is empty. */
function split(pair: string): readonly [string, string] {
  const at = pair.indexOf('=')
  return at === -1 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
}

/** `text` without percent-encoding; empty when that is malformed. */
export function percentDecoded(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
