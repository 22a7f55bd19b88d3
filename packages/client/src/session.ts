// A session at a gateway: who has it, how another is opened in its place, and which hosts may be sent it.

import { GatewayError } from './errors.ts'
import { failed, type Transport, xenApi, XenApiFailure } from './xenapi.ts'

/** Who signs in. */
export interface Credentials {
  readonly user: string
  readonly password: string
  /** What the host's records call the program; default: `xengate-client`. */
  readonly originator?: string
}

/** How a gateway is reached. */
export interface GatewayOptions {
  /** In place of the global `fetch`: with certificates of its own, by a proxy, or without a network (see `@xengate/client/testing`). */
  readonly fetch?: Transport
  /** Hosts to which a session may be sent, each with or without a port, beside those of the pool as its XenAPI has them, at the gateway's port. */
  readonly hosts?: readonly string[]
}

/** A session that there is, and who can open another in its place. */
export interface OpenSession {
  readonly id: string | null
  readonly credentials: Credentials | null
  /** Where the XenAPI is: of a pool at its coordinator. */
  readonly coordinator: string
}

const VERSION = '1.0'

/** The transport that is asked for, or `fetch`. */
export function transportOf({ fetch: given }: GatewayOptions): Transport {
  return given ?? ((target, init) => fetch(target, init))
}

/** Opens a session. @returns its id, and the origin where the XenAPI is */
export async function openSession(
  transport: Transport,
  origin: string,
  { user, password, originator = 'xengate-client' }: Credentials,
  signal?: AbortSignal,
): Promise<{ readonly id: string; readonly coordinator: string }> {
  let coordinator = origin
  for (let isFirst = true; ; isFirst = false) {
    try {
      const params = [user, password, VERSION, originator]
      const id = await xenApi(transport, coordinator, 'session.login_with_password', params, signal)
      return { id: String(id), coordinator }
    } catch (error) {
      if (!(error instanceof XenApiFailure)) throw error
      const [address] = error.parameters
      if (error.code === 'SESSION_AUTHENTICATION_FAILED') {
        throw new GatewayError(
          'sign-in-refused',
          `wrong user name or password, signing in at ${new URL(origin).host} as ${user}`,
        )
      }
      if (error.code !== 'HOST_IS_SLAVE' || typeof address !== 'string' || !isFirst) throw failed('sign in', error)
      coordinator = `${new URL(origin).protocol}//${bracketed(address)}`
    }
  }
}

/** An address as a URL has it. */
function bracketed(address: string): string {
  return address.includes(':') && !address.startsWith('[') ? `[${address}]` : address
}

/** See the head of this file. What services are called with. */
export class Session {
  /** The gateway's origin: `https://host`. */
  readonly url: string
  readonly transport: Transport
  readonly #coordinator: string
  #credentials: Credentials | null
  readonly #trusted: ReadonlySet<string>
  #id: string | null
  #renewing: Promise<unknown> | null = null
  #hosts: ReadonlySet<string> | null = null
  /** Origins of the hosts that run services, as far as they are known. */
  readonly #places = new Map<string, string>()

  constructor(url: string, { id, credentials, coordinator }: OpenSession, options: GatewayOptions) {
    this.url = url
    this.transport = transportOf(options)
    this.#id = id
    this.#credentials = credentials
    this.#coordinator = coordinator
    this.#trusted = new Set((options.hosts ?? []).map((host) => (/:\d+$/.test(host) ? host : bracketed(host))))
  }

  get id(): string | null {
    return this.#id
  }

  /** Calls the XenAPI, with the session before `params`. @throws {XenApiFailure} */
  call(method: string, params: readonly unknown[] = []): Promise<unknown> {
    return xenApi(this.transport, this.#coordinator, method, [this.#id ?? '', ...params])
  }

  /** It is over for good: nobody signs in anew. */
  end(): void {
    this.#credentials = null
  }

  /** Whether the session with which a request was refused is over: then another is open once this resolves. */
  async renew(used: string | null, code: string | undefined): Promise<boolean> {
    if (used === null || this.#credentials === null) return false
    if (used !== this.#id) return true
    if (code !== undefined && code !== 'session-invalid') return false
    // A service can say whatever it likes: only the XenAPI knows.
    if (await this.#isLive()) return false
    // One signs in for all that wait.
    this.#renewing ??= this.#open(this.#credentials).finally(() => {
      this.#renewing = null
    })
    await this.#renewing
    return true
  }

  async #open(credentials: Credentials): Promise<void> {
    const { id } = await openSession(this.transport, this.#coordinator, credentials)
    this.#id = id
  }

  /** By a call that every role may make: xapi answers a session that is over as it answers a role that may not. */
  async #isLive(): Promise<boolean> {
    try {
      await this.call('pool.get_all')
      return true
    } catch (error) {
      if (error instanceof XenApiFailure && error.code === 'SESSION_INVALID') return false
      throw failed('pool.get_all', error)
    }
  }

  /**
   * Whether the session may be sent to the host of `url`: it is of the pool, at the gateway's own port, or a host that was named, and it is as
   * secret there as here.
   */
  async isOfPool(url: URL): Promise<boolean> {
    const own = new URL(this.url)
    if (own.protocol === 'https:' && url.protocol !== 'https:') return false
    if (this.#trusted.has(url.hostname) || this.#trusted.has(url.host)) return true
    if (url.port !== own.port) return false
    if (url.hostname === own.hostname) return true
    if (this.#hosts?.has(url.hostname) !== true) this.#hosts = await this.#poolHosts()
    return this.#hosts.has(url.hostname)
  }

  async #poolHosts(): Promise<ReadonlySet<string>> {
    const method = 'host.get_all_records'
    const records = (await this.call(method).catch((error: unknown) => {
      throw failed(method, error)
    })) as Readonly<Record<string, { readonly address?: string }>>
    return new Set(Object.values(records).map(({ address = '' }) => bracketed(address)))
  }

  /** Where the service runs, as far as it is known. */
  placeOf(service: string): string {
    return this.#places.get(service) ?? this.url
  }

  isAt(service: string, origin: string): void {
    if (origin === this.url) this.#places.delete(service)
    else this.#places.set(service, origin)
  }
}
