// Which addresses are one client's.

import { isIP, isIPv6 } from 'node:net'

/**
 * What an address counts as: an IPv4 address (mapped into IPv6 too) as itself, an IPv6 address as its /64, since one
 * client has all of it; `undefined` for none. What is not an address counts as a text.
 */
export function addressKey(address: string): string | undefined {
  const bare = address.replace(/%.*$/, '').toLowerCase()
  if (bare === '') return undefined
  if (!isIPv6(bare)) return isIP(bare) === 0 ? bare.slice(0, 64) : bare
  const groups = groupsOf(bare)
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return [groups[6] ?? 0, groups[7] ?? 0].flatMap((group) => [group >> 8, group & 0xff]).join('.')
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.toString(16))
    .join(':')}::/64`
}

/** The network of what `addressKey` gave: a /24 of IPv4, a /48 of IPv6, and a text as itself. */
export function networkKey(key: string): string {
  if (isIP(key) === 4) return key.slice(0, key.lastIndexOf('.'))
  return key.endsWith('::/64') ? key.split(':').slice(0, 3).join(':') : key
}

/** The eight groups of a valid IPv6 address. */
function groupsOf(address: string): number[] {
  const undotted = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_dotted, ...bytes: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = bytes.slice(0, 4).map(Number)
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
  })
  const [head = '', tail] = undotted.split('::')
  const left = parseGroups(head)
  if (tail === undefined) return left
  const right = parseGroups(tail)
  return [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right]
}

function parseGroups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
}
