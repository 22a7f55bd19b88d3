// @xengate/client: calls custom services of a XenServer or XCP-ng host, under a session of the XenAPI.

import { Gateway } from './gateway.ts'
import { type Credentials, type GatewayOptions, openSession, transportOf } from './session.ts'

export type { Body } from './body.ts'
export { GatewayError, type GatewayErrorFields } from './errors.ts'
export { Gateway } from './gateway.ts'
export type { OnProgress, Progress } from './progress.ts'
export type { FetchOptions, RequestOptions, Service } from './service.ts'
export type { Credentials, GatewayOptions } from './session.ts'
export type { Transport } from './xenapi.ts'

export interface LoginOptions extends Credentials, GatewayOptions {
  readonly signal?: AbortSignal
}

/**
 * Signs in. The session is opened anew by itself when it has ended; `logout` ends it.
 * @param url of the gateway: `https://host`
 * @throws {GatewayError} `sign-in-refused`, `unreachable`, `xenapi-failed`
 */
export async function login(url: string | URL, options: LoginOptions): Promise<Gateway> {
  const { user, password, originator, signal } = options
  const origin = originOf(url)
  const credentials = { user, password, ...(originator !== undefined && { originator }) }
  const { id, coordinator } = await openSession(transportOf(options), origin, credentials, signal)
  return new Gateway(origin, { id, credentials, coordinator }, options)
}

/**
 * A gateway under a session that somebody else has opened, such as a script that was given one.
 * @param id the session's; null in a page of the gateway's, whose browser has it in a cookie
 */
export function session(url: string | URL, id: string | null, options: GatewayOptions = {}): Gateway {
  const origin = originOf(url)
  return new Gateway(origin, { id, credentials: null, coordinator: origin }, options)
}

function originOf(url: string | URL): string {
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new TypeError(`${String(url)} is not the URL of a gateway: give http://host[:port] or https://host[:port]`)
  }
  return parsed.origin
}
