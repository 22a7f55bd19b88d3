// Who is next of those who wait for a check, and who goes when too many wait: networks, their addresses and names have equal
// shares, so that many guesses from some of them do not keep others waiting.
//
// The network that was checked for longest ago is next; in it who has failed least, then the address, then the name that was checked
// for longest ago. What was never checked for is as what was a while ago, so that ever new networks do not keep others out for good.

import { BoundedMap } from '../../bounded-map.ts'
import { networkKey } from '../address-key.ts'

/** Of whom it is remembered when they were checked last. */
const CHECKED_MAX = 10_000
/** Checks since what was never checked for: some seconds of them when all are busy. */
const CHECKS_AGO = 200

/** One who waits. */
export interface Waiter {
  readonly name: string
  /** As `addressKey` gives it. */
  readonly address: string | undefined
  readonly sinceMs: number
}

/** See the head of this file. */
export class Shares {
  /** By network, address and name: the number of the last check. The longest ago first. */
  readonly #checked = new BoundedMap<string, number>(CHECKED_MAX)
  #checks = 0

  /** One is checked now. */
  took(waiter: Omit<Waiter, 'sinceMs'>): void {
    this.#checks += 1
    for (const key of keysOf(waiter)) this.#checked.setLast(key, this.#checks)
  }

  /** @returns those who wait, who is next first */
  inOrder<W extends Waiter>(waiting: readonly W[], failuresOf: (waiter: W) => number): W[] {
    const ranked = waiting.map((waiter) => {
      const [network = 0, address = 0, name = 0] = keysOf(waiter).map((key) => this.#lastCheck(key))
      return { waiter, rank: [network, failuresOf(waiter), address, name, waiter.sinceMs] }
    })
    return ranked.toSorted((a, b) => compare(a.rank, b.rank)).map(({ waiter }) => waiter)
  }

  #lastCheck(key: string): number {
    return this.#checked.get(key) ?? this.#checks - CHECKS_AGO
  }
}

/** Of those who wait, the last of who have most: of the network, in it of the address, then of the name. */
export function mostCrowded<W extends Waiter>(waiting: readonly W[]): W | undefined {
  let left = waiting
  for (const level of [0, 1, 2]) {
    const groups = Map.groupBy(left, (waiter) => keysOf(waiter)[level] ?? '')
    left = [...groups.values()].reduce((most, group) => (group.length >= most.length ? group : most), [])
  }
  return left.at(-1)
}

/** Where there is no address, a name is a network of its own. */
function keysOf({ name, address }: Omit<Waiter, 'sinceMs'>): [network: string, address: string, name: string] {
  const network = address === undefined ? `name ${name}` : `network ${networkKey(address)}`
  return [network, `address ${address ?? ''}`, `name ${name}`]
}

function compare(a: readonly number[], b: readonly number[]): number {
  return a.map((value, index) => value - (b[index] ?? 0)).find((difference) => difference !== 0) ?? 0
}
