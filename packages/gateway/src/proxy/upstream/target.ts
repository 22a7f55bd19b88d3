// What requests are sent to: a custom service, the XenAPI endpoint of the primary, or xapi.

import { proxyLineForXapi } from '../heads/proxy-header.ts'
import type { Ends } from '../../transport/transport.ts'

/** Where a connection goes: to a Unix socket, or to a TCP port, where `greeting` is what it begins with. */
export type Where =
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly greeting: string }

/** See the head of this file. */
export interface Target {
  /** Connections to targets of the same key may serve each other's requests. */
  readonly key: string
  /** Where it can be, in the order to try. */
  readonly places: readonly Where[]
  /** What logs call it: a service's name, `xenapi` or `xapi`. */
  readonly name: string
  /** Whether it is a custom service. */
  readonly isService: boolean
}

/** Where the socket of the service `name` can be, in the order to try. */
export type ServiceDirectories = (name: string) => readonly string[]

/** The custom service `name`, whose socket is in one of `directories`. */
export class ServiceTarget implements Target {
  readonly isService = true
  readonly name: string
  readonly #directories: readonly string[]

  constructor(name: string, directories: readonly string[]) {
    this.name = name
    this.#directories = directories
  }

  get key(): string {
    return this.name
  }

  get places(): readonly { readonly path: string }[] {
    // A name has no `/`, and a directory's path is normal: as `join` would, without taking them apart.
    return this.#directories.map((directory) => ({ path: `${directory}/${this.name}` }))
  }
}

/** The XenAPI endpoint, at the Unix socket `path`. No service can have a key with `/`. */
export function xenapiTarget(path: string): Target {
  return { key: '/xenapi', places: [{ path }], name: 'xenapi', isService: false }
}

/** The dashboard's server of the primary, at the Unix socket `path`. */
export function dashboardTarget(path: string): Target {
  return { key: '/dashboard', places: [{ path }], name: 'dashboard', isService: false }
}

/** What the gateway stands in front of. */
export interface Front {
  readonly upstream: { readonly host: string; readonly port: number }
  /** Whether xapi is told of each client by the PROXY protocol. */
  readonly proxyProtocol: boolean
}

/** xapi, by connections that begin with what it is told of the client; `ends` are null when they are not known. */
export function xapiTarget({ upstream, proxyProtocol }: Front, ends: Ends | null): Target {
  const greeting = proxyProtocol && ends !== null ? proxyLineForXapi(ends) : ''
  return { key: `/xapi${greeting}`, places: [{ ...upstream, greeting }], name: 'xapi', isService: false }
}
