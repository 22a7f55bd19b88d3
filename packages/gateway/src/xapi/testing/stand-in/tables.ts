// What the stand-in XenAPI knows: users, sessions, one pool, its hosts, and what changed in which order. It is written to
// the published facts about xapi and shares no code with the gateway.

import { randomUUID } from 'node:crypto'

/** A failure as the API reports it. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure'
  readonly code: string
  readonly params: readonly string[]

  constructor(code: string, ...params: string[]) {
    super(code)
    this.code = code
    this.params = params
  }
}

export type Value = string | number | boolean | Value[] | { [name: string]: Value }
export type ObjectRecord = Record<string, Value>

const NULL = 'OpaqueRef:NULL'
const ROLE_NAMES = ['pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator', 'read-only']

interface User {
  readonly password: string
  /** Reference of the subject; null for the local superuser. */
  readonly subject: string | null
}

interface SessionRow {
  readonly uuid: string
  readonly user: string
  readonly subject: string | null
  readonly originator: string
  lastActiveMs: number
}

interface Change {
  readonly generation: number
  readonly operation: 'add' | 'mod' | 'del'
}

/** A value as text; what is no text is empty. */
export function textOf(value: Value | undefined): string {
  return typeof value === 'string' ? value : ''
}

/** All tables. */
export class Tables {
  readonly users: Map<string, User> = new Map()
  readonly subjects: Map<string, ObjectRecord> = new Map()
  readonly roles: Map<string, ObjectRecord> = new Map()
  readonly sessions: Map<string, SessionRow> = new Map()
  readonly hosts: Map<string, ObjectRecord> = new Map()
  readonly metrics: Map<string, ObjectRecord> = new Map()
  /** Messages, in the order in which they were made. */
  readonly messages: ObjectRecord[] = []
  readonly poolRef: string = `OpaqueRef:${randomUUID()}`
  readonly poolUuid: string = randomUUID()
  readonly poolConfig: Record<string, Value> = {}
  hasHa = false
  coordinator: string = NULL
  generation = 1
  /** Tokens before this one are too old. */
  lostBefore = 0
  /** The last change of each object, by `class/reference`. */
  readonly #changes = new Map<string, Change>()
  #wake: (() => void)[] = []

  constructor() {
    for (const name of ROLE_NAMES) {
      this.roles.set(`OpaqueRef:${randomUUID()}`, {
        uuid: randomUUID(),
        name_label: name,
        name_description: '',
        subroles: [],
        is_internal: false,
      })
    }
    this.users.set('root', { password: 'root-pw', subject: null })
  }

  addSubject(name: string, password: string, role: string): void {
    const ref = `OpaqueRef:${randomUUID()}`
    const sid = `S-1-5-21-${this.subjects.size + 1000}`
    const record = { uuid: randomUUID(), subject_identifier: sid, other_config: {}, roles: [this.roleRef(role)] }
    this.subjects.set(ref, record)
    this.users.set(name, { password, subject: ref })
  }

  roleRef(name: string): string {
    for (const [ref, record] of this.roles) if (record['name_label'] === name) return ref
    throw new Error(`no role ${name}`)
  }

  addHost(hostname: string, address: string): string {
    const ref = `OpaqueRef:${randomUUID()}`
    const metricsRef = `OpaqueRef:${randomUUID()}`
    this.metrics.set(metricsRef, { uuid: randomUUID(), live: true, memory_total: '0', memory_free: '0' })
    this.hosts.set(ref, {
      uuid: randomUUID(),
      name_label: hostname,
      hostname,
      address,
      enabled: true,
      metrics: metricsRef,
      other_config: {},
      API_version_major: '2',
      API_version_minor: '21',
    })
    if (this.coordinator === NULL) this.coordinator = ref
    this.changed('host_metrics', metricsRef, 'add')
    this.changed('host', ref, 'add')
    return ref
  }

  removeHost(ref: string): void {
    this.hosts.delete(ref)
    this.changed('host', ref, 'del')
  }

  hostNamed(hostname: string): [string, ObjectRecord] {
    for (const [ref, record] of this.hosts) if (record['hostname'] === hostname) return [ref, record]
    throw new Error(`no host ${hostname}`)
  }

  poolRecord(): ObjectRecord {
    return {
      uuid: this.poolUuid,
      name_label: 'stand-in',
      master: this.coordinator,
      other_config: this.poolConfig,
      ha_enabled: this.hasHa,
    }
  }

  openSession(user: string, originator: string): string {
    const ref = `OpaqueRef:${randomUUID()}`
    const subject = this.users.get(user)?.subject ?? null
    this.sessions.set(ref, { uuid: randomUUID(), user, subject, originator, lastActiveMs: Date.now() })
    return ref
  }

  /** The session with this reference, which is thereby active. */
  use(ref: string): SessionRow {
    const row = this.sessions.get(ref)
    if (row === undefined) throw new ApiFailure('SESSION_INVALID', ref)
    row.lastActiveMs = Date.now()
    return row
  }

  sessionRecord(ref: string): ObjectRecord {
    const row = this.sessions.get(ref)
    if (row === undefined) throw new ApiFailure('HANDLE_INVALID', 'session', ref)
    const isSuperuser = row.subject === null
    const sid = row.subject === null ? '' : (this.subjects.get(row.subject)?.['subject_identifier'] ?? '')
    return {
      uuid: row.uuid,
      this_host: this.coordinator,
      this_user: NULL,
      last_active: dateTime(row.lastActiveMs),
      pool: false,
      other_config: {},
      is_local_superuser: isSuperuser,
      subject: row.subject ?? NULL,
      validation_time: dateTime(row.lastActiveMs),
      auth_user_sid: sid,
      // xapi leaves the name of a local superuser's session empty.
      auth_user_name: isSuperuser ? '' : row.user,
      rbac_permissions: [],
      tasks: [],
      parent: NULL,
      originator: row.originator,
      client_certificate: false,
    }
  }

  changed(className: string, ref: string, operation: Change['operation']): void {
    this.generation += 1
    this.#changes.set(`${className}/${ref}`, { generation: this.generation, operation })
    this.wakeWaiters()
  }

  wakeWaiters(): void {
    const wake = this.#wake
    this.#wake = []
    for (const one of wake) one()
  }

  /** Resolves at the next change, or after `ms`. */
  async nextChange(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake.push(resolve)
    const timer = setTimeout(resolve, ms)
    await promise
    clearTimeout(timer)
  }

  /** Events of `classes` after `since`; from 0 on, all that exists, as additions. */
  eventsSince(classes: readonly string[], since: number): Value[] {
    const wanted = new Set(classes.map((name) => name.toLowerCase()))
    return [...this.#changes].flatMap(([key, { generation, operation }]) => {
      const slash = key.indexOf('/')
      const [className, ref] = [key.slice(0, slash), key.slice(slash + 1)]
      if (generation <= since || !(wanted.has('*') || wanted.has(className))) return []
      if (since === 0 && operation === 'del') return []
      const snapshot = className === 'host' ? this.hosts.get(ref) : this.metrics.get(ref)
      const event: ObjectRecord = {
        id: String(generation),
        timestamp: '0.0',
        class: className,
        operation: since === 0 ? 'add' : operation,
        ref,
      }
      return [snapshot === undefined ? event : { ...event, snapshot }]
    })
  }
}

export function dateTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replaceAll('-', '')}Z`
}
