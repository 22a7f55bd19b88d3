// Password hashes: Argon2id in PHC string format, so that its parameters can be raised later.
// https://github.com/P-H-C/phc-string-format, RFC 9106

import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'

/** What makes a hash expensive. */
interface Cost {
  readonly memoryKiB: number
  readonly passes: number
  readonly parallelism: number
}

/** OWASP's recommendation for Argon2id with the least memory: 19 MiB, two passes. About 30 ms of one core. */
const COST: Cost = { memoryKiB: 19_456, passes: 2, parallelism: 1 }

/** What a stored hash may ask for at most, whoever wrote it. */
const COST_MAX: Cost = { memoryKiB: 1_048_576, passes: 16, parallelism: 16 }

const SALT_BYTES = 16
const TAG_BYTES = 32

const PHC = /^\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{16,86})$/

/** Hashes `password` with a new salt. Answers a PHC string. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES)
  const tag = await derive(password, salt, COST, TAG_BYTES)
  const { memoryKiB, passes, parallelism } = COST
  return `$argon2id$v=19$m=${memoryKiB},t=${passes},p=${parallelism}$${unpadded(salt)}$${unpadded(tag)}`
}

/**
 * Whether `password` is the one that `stored` was made of.
 *
 * @throws {RangeError} when `stored` is not a hash that this file writes, or asks for too much.
 */
export async function passwordMatches(stored: string, password: string): Promise<boolean> {
  const { cost, salt, tag } = parse(stored)
  return timingSafeEqual(await derive(password, salt, cost, tag.length), tag)
}

/** Whether `stored` was made with other parameters than a new hash would be. */
export function isOutdated(stored: string): boolean {
  const { cost } = parse(stored)
  return cost.memoryKiB !== COST.memoryKiB || cost.passes !== COST.passes || cost.parallelism !== COST.parallelism
}

/** Does the work of one check and answers nothing: what an unknown name costs, so that time does not tell. */
export async function wasteOneCheck(password: string): Promise<void> {
  await derive(password, randomBytes(SALT_BYTES), COST, TAG_BYTES)
}

function parse(stored: string): { cost: Cost; salt: Buffer; tag: Buffer } {
  const [, memory, passes, parallelism, salt, tag] = PHC.exec(stored) ?? []
  if (salt === undefined || tag === undefined) throw new RangeError('read password hash: not an Argon2id PHC string')
  const cost = { memoryKiB: Number(memory), passes: Number(passes), parallelism: Number(parallelism) }
  const { memoryKiB, passes: passesMax, parallelism: parallelismMax } = COST_MAX
  if (cost.memoryKiB > memoryKiB || cost.passes > passesMax || cost.parallelism > parallelismMax) {
    throw new RangeError('read password hash: its parameters are beyond the limit')
  }
  return { cost, salt: Buffer.from(salt, 'base64'), tag: Buffer.from(tag, 'base64') }
}

function derive(password: string, salt: Buffer, cost: Cost, tagLength: number): Promise<Buffer> {
  const { memoryKiB: memory, passes, parallelism } = cost
  return new Promise((resolve, reject) => {
    argon2('argon2id', { message: password, nonce: salt, memory, passes, parallelism, tagLength }, (error, tag) => {
      if (error) reject(error)
      else resolve(tag)
    })
  })
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}
