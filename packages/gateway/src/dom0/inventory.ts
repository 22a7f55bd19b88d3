// What a host says of itself in files of `KEY='value'` lines.

import { readFileSync } from 'node:fs'

/** The values of such a file; empty when it cannot be read. */
export function readKeys(path: string): ReadonlyMap<string, string> {
  let text = ''
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    // The host has no such file.
  }
  const found = text.matchAll(/^([A-Z_]+)=(['"]?)(.*)\2$/gm)
  return new Map([...found].map(([, key = '', , value = '']) => [key, value]))
}
