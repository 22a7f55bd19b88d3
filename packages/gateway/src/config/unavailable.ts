// What a configuration may ask for elsewhere and this version does not do. Each is refused by name, so that nobody
// believes that it is in force.

import { type KeyPath } from './locate.ts'

const OPTIONS: readonly { readonly key: string; readonly does: string; readonly instead: string }[] = [
  { key: 'control', does: 'the control service', instead: 'leave [control] out' },
]

/** What to say about an unknown option that this version does not have; `undefined` for one that none has. */
export function missingOption(path: KeyPath): string | undefined {
  const key = path.filter((name) => typeof name !== 'number').join('.')
  const found = OPTIONS.find((option) => option.key === key)
  return found && `\`${key}\`: this version does not have ${found.does}; ${found.instead}`
}
