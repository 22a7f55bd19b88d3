// Where Valkey is, as one URL:
//
//   redis://[user:password@]host[:port][/database]          one server; rediss:// with TLS
//   unix:/path                                              one server on this host
//   redis+sentinel://[…@]host[:26379],host…/master          Sentinels, which know the server; rediss+sentinel://
//   redis+cluster://[…@]host[:port],host…                   some servers of a Cluster; rediss+cluster://
//
// `valkey` may stand for `redis` everywhere. User and password are percent-encoded.

import { parsePort } from '../model/origin.ts'

/** One server to connect to. */
export type ValkeyServer = { readonly host: string; readonly port: number } | { readonly path: string }

/** What a URL says. */
export interface ValkeyUrl {
  readonly kind: 'single' | 'sentinel' | 'cluster'
  /** At least one. */
  readonly servers: readonly ValkeyServer[]
  /** Name that the Sentinels know the server by; empty for other kinds. */
  readonly master: string
  readonly hasTls: boolean
  readonly user: string | null
  readonly password: string | null
  readonly database: number
}

/** How to reach Valkey. */
export interface ValkeySettings {
  /** With the password, if it has one: not to be logged. */
  readonly url: ValkeyUrl
  /** File of certificates that the server's may be signed by; null: those that the system trusts. */
  readonly caFile: string | null
  /** File of the password; it goes before the URL's. */
  readonly passwordFile: string | null
}

const URL_FORM = /^(?:redis|valkey)(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^@/]*)@)?([^@/?#]+)(?:\/([^/?#]*))?$/
const SERVER_FORM = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253}))(?::([0-9]{1,5}))?$/
const PORT = 6379
const SENTINEL_PORT = 26_379
const DATABASE_MAX = 1_000_000

/** Reads a URL; undefined when it is none of the above. */
export function parseValkeyUrl(text: string): ValkeyUrl | undefined {
  if (text.startsWith('unix:/')) return { ...SINGLE, servers: [{ path: text.slice('unix:'.length) }] }
  const [, secure, form, userinfo, list = '', rest = ''] = URL_FORM.exec(text) ?? []
  if (list === '') return undefined
  const kind: ValkeyUrl['kind'] = form === 'sentinel' || form === 'cluster' ? form : 'single'
  const servers = list.split(',').map((each) => parseServer(each, kind === 'sentinel' ? SENTINEL_PORT : PORT))
  const credentials = parseCredentials(userinfo)
  if (credentials === undefined || !servers.every((server) => server !== undefined)) return undefined
  if (kind === 'single' && servers.length > 1) return undefined
  const base = { ...SINGLE, kind, servers, hasTls: secure === 's', ...credentials }
  if (kind === 'sentinel') return rest === '' ? undefined : { ...base, master: decodeURIComponent(rest) }
  if (kind === 'cluster') return rest === '' ? base : undefined
  if (rest !== '' && !/^[0-9]{1,7}$/.test(rest)) return undefined
  return Number(rest) > DATABASE_MAX ? undefined : { ...base, database: Number(rest) }
}

const SINGLE = { kind: 'single', master: '', hasTls: false, user: null, password: null, database: 0 } as const

function parseServer(text: string, defaultPort: number): ValkeyServer | undefined {
  const [, v6, name, port] = SERVER_FORM.exec(text) ?? []
  const host = v6 ?? name
  const number = port === undefined ? defaultPort : parsePort(port)
  return host === undefined || number === undefined ? undefined : { host, port: number }
}

function parseCredentials(userinfo: string | undefined): Pick<ValkeyUrl, 'user' | 'password'> | undefined {
  if (userinfo === undefined) return { user: null, password: null }
  const colon = userinfo.indexOf(':')
  try {
    const user = decodeURIComponent(colon === -1 ? userinfo : userinfo.slice(0, colon))
    const password = colon === -1 ? null : decodeURIComponent(userinfo.slice(colon + 1))
    return { user: user === '' ? null : user, password }
  } catch {
    return undefined
  }
}
