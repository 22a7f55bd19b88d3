// The kinds of values that options have, as schemas: each says what is wrong in a clause that follows the option's name.

import * as z from 'zod'
import { parseListenAddress, parseUpstream, type ListenAddress, type Upstream } from './addresses.ts'
import { parseOrigin } from '../model/origin.ts'
import { parseXapiAddress, type XapiAddress } from '../xapi/address.ts'
import { DURATION_PATTERN, formatDuration, parseDuration } from './durations.ts'
import { parseValkeyUrl, type ValkeyUrl } from '../valkey/url.ts'

/** What the schema file declares beside an option's type: one line for operators, and a value for the sample file. */
export interface OptionMeta {
  /** One line, lower case, no full stop. */
  readonly description: string
  /** What the sample file shows, commented out, for an option that has no default or an empty one. */
  readonly example?: unknown
}

/** Attaches `meta` where the JSON Schema, the sample file and the reference page find it. */
export function option<T extends z.ZodType>(schema: T, meta: OptionMeta): T {
  return schema.meta({ ...meta })
}

/** A duration between two bounds (milliseconds), given as text; the result is in milliseconds. */
export function duration(bounds: { readonly minMs: number; readonly maxMs: number }): z.ZodType<number, string> {
  return z
    .string({ error: ({ input }) => durationWanted(input) })
    .regex(DURATION_PATTERN, { error: ({ input }) => durationWanted(input) })
    .transform((text, context): number => {
      const ms = parseDuration(text) ?? Number.NaN
      if (ms >= bounds.minMs && ms <= bounds.maxMs) return ms
      const [min, max] = [formatDuration(bounds.minMs), formatDuration(bounds.maxMs)]
      context.issues.push({ code: 'custom', input: text, message: `must be between ${min} and ${max}` })
      return z.NEVER
    })
}

/** What a duration must be, and the one that will have been meant. */
function durationWanted(input: unknown): string {
  const wanted = 'must be a duration such as "250ms", "10s", "5m" or "24h"'
  const [, days] = /^(\d{1,4})d$/.exec(String(input)) ?? []
  if (days !== undefined) return `${wanted}; in hours, that is "${Number(days) * 24}h"`
  return /^\d{1,9}$/.test(String(input)) ? `${wanted}; write "${String(input)}s" for seconds` : wanted
}

/** A whole number between two bounds. */
export function whole(bounds: { readonly min: number; readonly max: number }): z.ZodInt {
  return z.int().min(bounds.min).max(bounds.max)
}

/** A listen address: `host:port`, `[v6]:port` or `unix:/path`. */
export function listenAddress(): z.ZodType<ListenAddress, string> {
  return parsed(parseListenAddress, 'must be host:port, [IPv6 address]:port or unix:/path')
}

/** Another host's address: `http(s)://host[:port]`. */
export function origin(): z.ZodType<string, string> {
  return parsed(parseOrigin, 'must be http://host[:port] or https://host[:port], without a path')
}

/** Where xapi takes plain HTTP: `http://host[:port]`. */
export function upstream(): z.ZodType<Upstream, string> {
  const unix = 'not a Unix socket: xapi treats every connection to its socket as root'
  return parsed(parseUpstream, `must be http://host[:port], without a path, and ${unix}`)
}

/** Where xapi is: its Unix socket or an `https` origin. A path stays as it is written. */
export function xapiAddress(): z.ZodType<XapiAddress, string> {
  return parsed(parseXapiAddress, 'must be unix:/path or https://host[:port], without a path')
}

/** Where something takes what is sent to it over HTTP: a URL with a path, and without secrets. */
export function httpUrl(): z.ZodType<string, string> {
  return parsed((text) => {
    const url = URL.parse(text)
    if (url === null || !/^https?:$/.test(url.protocol) || url.pathname === '/') return undefined
    return url.username === '' && url.password === '' ? url.href : undefined
  }, 'must be http://host[:port]/path or https://host[:port]/path, such as "http://127.0.0.1:4318/v1/traces", without a password')
}

/** Where Valkey is. */
export function valkeyUrl(): z.ZodType<ValkeyUrl, string> {
  const forms = 'redis://[user:password@]host[:port][/database], rediss://…, unix:/path'
  return parsed(
    parseValkeyUrl,
    `must be ${forms}, redis+sentinel://host[:port],…/master or redis+cluster://host[:port],…`,
  )
}

/** A path that is not empty; relative ones are resolved later, against the file's directory. */
export function filePath(): z.ZodType<string, string> {
  return z.string('must be a path').refine((text) => text !== '' && !text.includes('\0'), 'must be a path')
}

/** A name of this host in DNS, without a port; in lower case from then on. */
export function hostName(): z.ZodType<string, string> {
  const wanted = 'must be a host name without a port, such as "xen.example.com"; addresses need not be listed'
  const label = '[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?'
  const isName = new RegExp(`^(?!(?:.*\\.)?\\d+$)${label}(?:\\.${label})*$`, 'i')
  return parsed((text) => (text.length <= 253 && isName.test(text) ? text.toLowerCase() : undefined), wanted)
}

/** Permission bits in octal, as `chmod` takes them. */
export function fileMode(): z.ZodType<number, string> {
  return parsed(
    (text) => (/^0?[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : undefined),
    'must be three octal digits, such as "0660"',
  )
}

/** A user or a group: a name, or a number. */
export function account(): z.ZodType<string | number> {
  const wanted = 'must be a name or a number'
  return z.union([z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/), z.int().min(0)], wanted)
}

// CONNECT asks for a tunnel to somewhere else, and TRACE sends the request, with its session id, back to the client.
const METHODS_REFUSED: readonly string[] = ['CONNECT', 'TRACE']

/** A request method that may be allowed: an upper-case token. */
export function methodName(): z.ZodType<string, string> {
  const wanted = 'must be a method in upper case'
  return z
    .string(wanted)
    .regex(/^[A-Z][A-Z0-9-]{0,31}$/, wanted)
    .refine((text) => !METHODS_REFUSED.includes(text), `must not be ${METHODS_REFUSED.join(' or ')}`)
    .meta({ title: 'method' })
}

function parsed<Output>(parse: (text: string) => Output | undefined, message: string): z.ZodType<Output, string> {
  return z.string(message).transform((text, context): Output => {
    const value = parse(text)
    if (value !== undefined) return value
    context.issues.push({ code: 'custom', input: text, message })
    return z.NEVER
  })
}
