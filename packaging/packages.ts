// The formats, and which of them need which.

import { mkdirSync, rmSync } from 'node:fs'
import { readIdentity } from './identity.ts'
import { makeDeb } from './deb.ts'
import type { Compression, Making } from './making.ts'
import { makePack } from './pack.ts'
import { makeRpm } from './rpm.ts'
import { checkSigningKey } from './sign.ts'
import { makeTree } from './tree.ts'
import { makeYumRepository } from './yum.ts'

export const FORMATS = ['tree', 'rpm', 'deb', 'yum', 'pack'] as const
export type Format = (typeof FORMATS)[number]

export function isFormat(name: string): name is Format {
  return (FORMATS as readonly string[]).includes(name)
}

export interface PackageOptions {
  readonly out: string
  readonly runtime?: string | undefined
  /** Key of gpg. */
  readonly sign?: string | undefined
  readonly compression?: Compression
}

/** Makes packages, and returns their paths. The tree is always there afterwards. */
export async function makePackages(formats: readonly Format[], options: PackageOptions): Promise<string[]> {
  const { out, runtime, sign, compression = 'xz' } = options
  // Before anything that takes its time.
  const key = sign === undefined ? undefined : checkSigningKey(sign)
  mkdirSync(out, { recursive: true })
  const identity = readIdentity()
  const making: Making = { out, identity, compression, key, tree: await makeTree({ out, identity, runtime }) }
  const wants = (...names: Format[]): boolean => names.some((name) => formats.includes(name))
  const paths = wants('tree') ? [making.tree] : []
  const rpm = wants('rpm', 'yum', 'pack') ? makeRpm(making) : ''
  if (wants('rpm')) paths.push(rpm)
  if (wants('deb')) paths.push(makeDeb(making))
  if (wants('yum')) paths.push(makeYumRepository(making, rpm))
  if (wants('pack')) paths.push(makePack(making, rpm))
  if (rpm !== '' && !wants('rpm')) rmSync(rpm)
  return paths
}
