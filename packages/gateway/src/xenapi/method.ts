// What a method of the XenAPI is: an entry of the table, and what its handler is given.

import type { Session } from '../model/session.ts'
import type { Role } from '../model/role.ts'
import type { SignInAuthority } from '../sessions/accounts/sign-in.ts'
import { fieldTypeError } from './errors.ts'
import type { EventSource } from './events.ts'
import type { CallLog } from './call-log.ts'
import type { XenApiPool } from './records.ts'
import type { Tasks } from './tasks.ts'
import type { RpcValue } from './values.ts'

/** What all calls of a server share. */
export interface XenApiState {
  readonly authority: SignInAuthority
  readonly pool: XenApiPool
  readonly hostReference: string
  readonly tasks: Tasks
  readonly events: EventSource
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  /** Names of all methods, sorted. */
  readonly methodNames: readonly string[]
  /** Of this program, for `host.software_version`. */
  readonly version: string
}

/** One call, from a client that need not be signed in. */
export interface Call {
  readonly state: XenApiState
  /** The client's IP address; empty for a local socket. */
  readonly clientAddress: string
  /** Told of who calls. */
  readonly log: CallLog
  /** Aborted when nobody waits for the answer any more. */
  readonly gone: AbortSignal
}

/** One call, from a client that is signed in. */
export interface SessionCall extends Call {
  readonly session: Session
  /** The secret; it goes into answers to its owner only. */
  readonly sessionId: string
}

/** A method that anyone may call. */
export interface OpenMethod {
  readonly kind: 'open'
  /** Names of the parameters, in order. */
  readonly params: readonly string[]
  /** How many of them must be there. */
  readonly mandatory: number
  readonly handler: (call: Call, args: Arguments) => RpcValue | Promise<RpcValue>
}

/** A method whose first parameter is a session. */
export interface SessionMethod {
  readonly kind: 'session'
  /** Names of the parameters after the session, in order; all must be there. */
  readonly params: readonly string[]
  /** The lowest role that may call it. */
  readonly role: Role
  readonly handler: (call: SessionCall, args: Arguments) => RpcValue | Promise<RpcValue>
}

/** An entry of the method table. */
export type Method = OpenMethod | SessionMethod

/** Methods by name. */
export type MethodTable = Readonly<Record<string, Method>>

/** A call's parameters, by position, as the types that a method wants; a wrong type is `FIELD_TYPE_ERROR`. */
export class Arguments {
  readonly #names: readonly string[]
  readonly #values: readonly RpcValue[]

  constructor(names: readonly string[], values: readonly RpcValue[]) {
    this.#names = names
    this.#values = values
  }

  text(index: number): string {
    const value = this.#values[index]
    if (typeof value !== 'string') throw this.#wrongType(index)
    return value
  }

  /** `absent` when the client sent fewer parameters. */
  optionalText(index: number, absent: string): string {
    return index < this.#values.length ? this.text(index) : absent
  }

  texts(index: number): string[] {
    const value = this.#values[index]
    if (!Array.isArray(value)) throw this.#wrongType(index)
    return value.map((element: unknown) => {
      if (typeof element !== 'string') throw this.#wrongType(index)
      return element
    })
  }

  /** A map from texts to texts. */
  textMap(index: number): Readonly<Record<string, string>> {
    const value = this.#values[index]
    const isMap = typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
    if (!isMap) throw this.#wrongType(index)
    const entries = Object.entries(value).map(([name, text]: [string, unknown]): [string, string] => {
      if (typeof text !== 'string') throw this.#wrongType(index)
      return [name, text]
    })
    return Object.fromEntries(entries)
  }

  /** A finite number; clients send a whole one as a string, the API's integer. */
  number(index: number): number {
    const value = this.#values[index]
    const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
    if (typeof number !== 'number' || !Number.isFinite(number)) throw this.#wrongType(index)
    return number
  }

  #wrongType(index: number): Error {
    return fieldTypeError(this.#names[index] ?? String(index))
  }
}

/** A method for every signed-in client. */
export function anyRole(params: readonly string[], handler: SessionMethod['handler']): SessionMethod {
  return { kind: 'session', params, role: 'read-only', handler }
}
