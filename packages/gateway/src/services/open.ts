// What an implementation of a registry is opened with, and what it gives.

import type { Config } from '../config/schema.ts'
import type { ValkeyLink } from '../valkey/link.ts'
import type { PoolRegistry } from './registry.ts'

/** What there is to open a registry with. */
export interface RegistryContext {
  readonly config: Config
  /** Takes what happens in the background: an event's name, and the error. */
  readonly report: (event: string, error: unknown) => void
  /** The connection to Valkey that the daemon shares, made when this is first called. */
  readonly valkey: () => ValkeyLink
}

/** A registry, not started. */
export interface OpenedRegistry {
  readonly registry: PoolRegistry
  /** Whether others are told what runs here; if not, nobody needs to look. */
  readonly isTold: boolean
}
