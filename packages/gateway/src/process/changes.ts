// What of a configuration is different, and what that means for the workers that run.

import { isDeepStrictEqual } from 'node:util'
import { formatListenAddress } from '../config/addresses.ts'
import type { Config, ListenConfig } from '../config/config.ts'
import type { Takes } from './messages.ts'

/** The keys that differ, as the file has them: `log.level`, `limits.idle-timeout`; of `[[listen]]` only that something does. */
export function changedKeys(newer: Config, before: Config): readonly string[] {
  return (Object.keys(newer) as (keyof Config)[]).flatMap((name) => {
    const [one, other] = [newer[name], before[name]]
    if (isDeepStrictEqual(one, other)) return []
    if (!isTable(one) || !isTable(other)) return [keyText(name)]
    const keys = Object.keys(one).filter((key) => !isDeepStrictEqual(one[key], other[key]))
    return keys.map((key) => `${keyText(name)}.${keyText(key)}`)
  })
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `idleTimeoutMs` as the file has it. */
function keyText(key: string): string {
  return key.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** Whether workers that run cannot take `newer`: it has its connections in another way, is in front of something else, or sends traces elsewhere. */
export function needsNewWorkers(newer: Config, before: Config): boolean {
  const isSame =
    newer.transport === before.transport &&
    isDeepStrictEqual(newer.front, before.front) &&
    isDeepStrictEqual(newer.traces, before.traces)
  return !isSame
}

/**
 * Places in `newer` of the listeners that are others to workers than those of `before`, or that were not there. The files of TLS are no
 * difference, and owners and modes of sockets' files are the primary's to set.
 */
export function otherListeners(newer: readonly ListenConfig[], before: readonly ListenConfig[]): readonly number[] {
  const known = before.map(asWorkersSeeIt)
  return newer.flatMap((listen, index) => {
    return known.some((one) => isDeepStrictEqual(one, asWorkersSeeIt(listen))) ? [] : [index]
  })
}

/** Which connections workers of a configuration take from others: what TLS has agreed on cannot go along. */
export function takesOf({ listen }: Config): Takes {
  const plain = listen.filter(({ tls }) => tls === null)
  return { listeners: plain.map(({ address }) => formatListenAddress(address)), takesUnderWay: true }
}

function asWorkersSeeIt({ address, proxyProtocol, tls }: ListenConfig): unknown {
  return { address, proxyProtocol, isSecure: tls !== null }
}
