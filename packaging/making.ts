// What the makers of packages are given.

import type { Identity } from './identity.ts'

/** How hard payloads are pressed. Tests, which throw them away, do not press them at all. */
export type Compression = 'xz' | 'none'

/** What to make, and from what. */
export interface Making {
  /** Directory of the results. */
  readonly out: string
  /** The tree; its path ends in opt/xengate. */
  readonly tree: string
  readonly identity: Identity
  readonly compression: Compression
  /** Fingerprint of the key, when it is to be signed. */
  readonly key: string | undefined
}
