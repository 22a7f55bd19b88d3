// What is packed: a version and a commit, from which all times and ids in the packages follow.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from './run.ts'

export const ROOT: string = fileURLToPath(new URL('..', import.meta.url))

export interface Identity {
  readonly version: string
  /** Of git, with `+changes` when files differ from it. */
  readonly commit: string
  /** When the commit was made, in seconds: the time of everything in the packages. */
  readonly epoch: number
}

/** @throws {Error} outside a checkout */
export function readIdentity(): Identity {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'packages/gateway/package.json'), 'utf8')) as { version: string }
  const [commit = '', epoch] = git('log', '-1', '--format=%H %ct').trim().split(' ')
  const isChanged = git('status', '--porcelain') !== ''
  return { version: manifest.version, commit: isChanged ? `${commit}+changes` : commit, epoch: Number(epoch) }
}

function git(...argv: string[]): string {
  return run('git', ['-C', ROOT, ...argv])
}

/** Namespace of the ids below, itself made once at random. */
const NAMESPACE = Buffer.from('8f0f3f0c9b5e4b0c9a7d6a1c4be2a9d1', 'hex')

/** The same id for the same thing (RFC 9562, version 5). */
export function uuidOf(thing: string, { version, commit }: Identity): string {
  const hash = createHash('sha1').update(NAMESPACE).update(`${thing} ${version} ${commit}`).digest().subarray(0, 16)
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x50, 6)
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8)
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
