// What the openers of authorities and registries are given, and what they give.

import type { Config } from '../../config/config.ts'
import type { LimitName } from '../../model/limit-names.ts'
import type { PoolRegistry } from '../../services/registry.ts'
import type { Identity } from '../../sessions/accounts/identity.ts'
import type { SignInAuthority } from '../../sessions/accounts/sign-in.ts'
import type { SessionAuthority } from '../../sessions/authority.ts'
import type { ValkeyLink } from '../../valkey/link.ts'

/** What there is to open an authority or a registry with. */
export interface OpenContext {
  readonly config: Config
  /** Takes what happens in the background: an event's name, and the error. */
  readonly report: (event: string, error: unknown) => void
  /** Told xapi's reference of this host, once it is known. */
  readonly ownHostKnown: (ref: string) => void
  /** Told of limits that are hit. */
  readonly limited: (limit: LimitName) => void
  /** The connection to Valkey that the daemon shares, made when this is first called. */
  readonly valkey: () => ValkeyLink
}

/** An authority, not started. */
export interface OpenedAuthority {
  readonly authority: SessionAuthority
  /** What a XenAPI of the gateway's own is made from; null when the authority has users elsewhere. */
  readonly xenapi: { readonly authority: SignInAuthority; readonly identity: Identity } | null
  /** Takes a reloaded configuration. */
  readonly configure: (config: Config) => void
  /** Ends the authority and what it was opened with. */
  readonly close: () => Promise<void>
}

/** A registry, not started. */
export interface OpenedRegistry {
  readonly registry: PoolRegistry
  /** Whether others are told what runs here; if not, nobody needs to look. */
  readonly announces: boolean
}
