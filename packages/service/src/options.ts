// What `serve` is given, looked at before anything is made: a caller in JavaScript has nobody else to tell of a slip.

import { ServiceError } from './errors.ts'
import { nearest } from './nearest.ts'

interface Check {
  readonly is: (value: unknown) => boolean
  /** What it has to be, in words. */
  readonly what: string
}

const A_FUNCTION: Check = { is: (value) => typeof value === 'function', what: 'a function' }
const MODE_MAX = 0o777
/** The most that a timer of Node.js takes. */
const TIMEOUT_MS_MAX = 2_147_483_647

const CHECKS: ReadonlyMap<string, Check> = new Map<string, Check>([
  ['name', { is: isString, what: 'a string' }],
  ['directory', { is: (value) => isString(value) && value !== '', what: 'a path' }],
  ['handler', A_FUNCTION],
  ['fetch', A_FUNCTION],
  ['upgrade', A_FUNCTION],
  ['mode', { is: (value) => isCount(value, MODE_MAX), what: 'a number from 0 to 0o777' }],
  ['group', { is: (value) => isString(value) || isCount(value, 2 ** 32 - 2), what: "a group's name or id" }],
  ['gateway', { is: (value) => isString(value) || isCount(value, 2 ** 32 - 2), what: "a user's name or id" }],
  ['channels', { is: (value) => typeof value === 'boolean', what: 'true or false' }],
  ['drainTimeoutMs', { is: (value) => isCount(value, TIMEOUT_MS_MAX), what: 'a whole number of milliseconds' }],
  ['onError', A_FUNCTION],
])

/** Checks names and types of options; undefined stands for the default. @throws {ServiceError} that says what is wrong */
export function checkOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null) throw invalid('give an object with "name" and "handler"')
  for (const [name, value] of Object.entries(options)) {
    const check = CHECKS.get(name)
    if (check === undefined) throw invalid(`there is no option "${name}"${meant(name)}`)
    if (value !== undefined && !check.is(value)) throw invalid(`"${name}" has to be ${check.what}`)
  }
  const { name, handler, fetch } = options as Readonly<Record<string, unknown>>
  if (name === undefined) throw invalid('give the "name" that clients ask for')
  if ((handler === undefined) === (fetch === undefined)) throw invalid('give either "handler" or "fetch"')
}

function invalid(why: string): ServiceError {
  return new ServiceError('options-invalid', `cannot serve: ${why}`)
}

function meant(name: string): string {
  const known = nearest(name, CHECKS.keys())
  return known === undefined ? `; there are ${[...CHECKS.keys()].join(', ')}` : `; did you mean "${known}"?`
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function isCount(value: unknown, max: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max
}
