// Who a session of xapi belongs to: its record, and its subject's roles.

import type { XapiClient } from '../../xapi/client.ts'
import { XapiUnreachableError } from '../../xapi/errors.ts'
import { BoundedMap } from '../../bounded-map.ts'
import type { Session } from '../../model/session.ts'
import { type Role, ROLES, isRole } from '../../model/role.ts'

/** Subjects whose roles are kept; past it the one asked for longest ago is asked for again. */
const SUBJECTS_MAX = 10_000

/** Reads sessions' records and subjects' roles, with the gateway's own session. */
export class XapiIdentities {
  readonly #client: XapiClient
  readonly #nowMs: () => number
  readonly #trustMs: number
  readonly #roles = new BoundedMap<string, { readonly askedMs: number; readonly roles: Promise<readonly Role[]> }>(
    SUBJECTS_MAX,
  )
  /** Names of roles by reference: they do not change while xapi runs. */
  readonly #names = new Map<string, string>()

  /** @param trustMs how long what is known of a subject's roles is trusted */
  constructor(client: XapiClient, nowMs: () => number, trustMs: number) {
    this.#client = client
    this.#nowMs = nowMs
    this.#trustMs = trustMs
  }

  /**
   * The live session with this id, as its record says. A local superuser is pool-admin, as in xapi; a session whose
   * subject has no role that is known has the least one.
   *
   * @throws {XapiFailure} @throws {XapiUnreachableError}
   */
  async sessionOf(id: string): Promise<Session> {
    const record = await this.#client.own('session.get_record', [id])
    const isLocalSuperuser = field(record, 'is_local_superuser') === true
    const subject = textField(record, 'subject')
    const name = textField(record, 'auth_user_name')
    return {
      uuid: textField(record, 'uuid'),
      // xapi does not keep the name of a local superuser.
      user: name === '' && isLocalSuperuser ? 'root' : name,
      subject,
      roles: isLocalSuperuser ? ['pool-admin'] : await this.#rolesOf(subject),
      originator: textField(record, 'originator'),
      isLocalSuperuser,
    }
  }

  /** The same session with the roles that its subject has now: nothing else of it changes. @throws as `sessionOf` */
  async renewed(session: Session): Promise<Session> {
    return session.isLocalSuperuser ? session : { ...session, roles: await this.#rolesOf(session.subject) }
  }

  /** Sessions of one subject share the question. */
  #rolesOf(subject: string): Promise<readonly Role[]> {
    const nowMs = this.#nowMs()
    const known = this.#roles.get(subject)
    if (known !== undefined && nowMs - known.askedMs < this.#trustMs) return known.roles
    const roles = this.#askRoles(subject)
    this.#roles.setLast(subject, { askedMs: nowMs, roles })
    roles.catch(() => this.#roles.delete(subject))
    return roles
  }

  async #askRoles(subject: string): Promise<readonly Role[]> {
    if (subject === 'OpaqueRef:NULL') return ['read-only']
    const references = await this.#client.own('subject.get_roles', [subject])
    if (!Array.isArray(references)) throw new XapiUnreachableError('read subject from xapi: its roles are no list')
    const names = await Promise.all(references.map((reference) => this.#nameOf(String(reference))))
    const held = names.filter((name) => isRole(name))
    return held.length === 0 ? ['read-only'] : ROLES.filter((role) => held.includes(role))
  }

  async #nameOf(reference: string): Promise<string> {
    const known = this.#names.get(reference)
    if (known !== undefined) return known
    const name = String(await this.#client.own('role.get_name_label', [reference]))
    this.#names.set(reference, name)
    return name
  }
}

function field(record: unknown, name: string): unknown {
  return typeof record === 'object' && record !== null ? (record as Record<string, unknown>)[name] : undefined
}

function textField(record: unknown, name: string): string {
  const value = field(record, name)
  if (typeof value === 'string') return value
  throw new XapiUnreachableError(`read session from xapi: its ${name} is no text`)
}
