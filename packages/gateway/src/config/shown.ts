// A configuration as it may be shown to others, without its secrets.

import { stringify } from 'smol-toml'

/** What stands in place of a secret. */
export const BLANKED = '(blanked)'

/**
 * The text of a configuration without comments, which may hold anything, and without passwords. These are in URLs alone (`valkey.url`):
 * elsewhere a password is in a file, whose path is shown.
 *
 * @param input plain data of a valid configuration
 */
export function shownConfig(input: unknown): string {
  const blanked: unknown = JSON.parse(JSON.stringify(input), (_key, value: unknown) =>
    typeof value === 'string' ? value.replace(/(:\/\/[^/?#@]*?:)[^/?#]*@/, `$1${BLANKED}@`) : value,
  )
  return stringify(blanked)
}
