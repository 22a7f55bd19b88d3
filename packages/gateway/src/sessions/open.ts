// What an implementation of an authority is opened with, and what it gives.

import type { Config } from '../config/schema.ts'
import type { ValkeyLink } from '../valkey/link.ts'
import type { Identity } from './accounts/identity.ts'
import type { SignInAuthority } from './accounts/sign-in.ts'
import type { SessionAuthority } from './authority.ts'

/** What there is to open an authority with. */
export interface AuthorityContext {
  readonly config: Config
  /** Takes what happens in the background: an event's name, and the error. */
  readonly report: (event: string, error: unknown) => void
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
