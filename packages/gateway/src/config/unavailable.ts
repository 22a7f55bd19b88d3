// What a configuration may ask for elsewhere and this version does not do. Each is refused by name, so that nobody
// believes that it is in force.

import { type KeyPath } from './locate.ts'

const OPTIONS: readonly { readonly key: string; readonly does: string; readonly instead: string }[] = [
  { key: 'listen.tls', does: 'TLS', instead: 'put a TLS terminator such as stunnel or HAProxy in front' },
  { key: 'front', does: 'standing in front of xapi', instead: 'leave [front] out' },
  { key: 'control', does: 'the control service', instead: 'leave [control] out' },
]

const VALUES: readonly {
  readonly key: string
  readonly values: readonly unknown[]
  readonly does: string
  readonly instead: string
}[] = [{ key: 'listen.proxy-protocol', values: [true], does: 'the PROXY protocol', instead: 'use false' }]

/** What to say about an unknown option that this version does not have; `undefined` for one that none has. */
export function missingOption(path: KeyPath): string | undefined {
  const key = keyWithoutIndices(path)
  const found = OPTIONS.find((option) => option.key === key)
  return found && `\`${key}\`: this version does not have ${found.does}; ${found.instead}`
}

/** The same for an option's value. */
export function missingValue(path: KeyPath, value: unknown): string | undefined {
  const key = keyWithoutIndices(path)
  const found = VALUES.find((option) => option.key === key && option.values.includes(value))
  return found && `\`${key} = ${JSON.stringify(value)}\`: this version does not have ${found.does}; ${found.instead}`
}

function keyWithoutIndices(path: KeyPath): string {
  return path.filter((name) => typeof name !== 'number').join('.')
}
