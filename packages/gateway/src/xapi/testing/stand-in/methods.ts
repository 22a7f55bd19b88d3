// The stand-in's methods: those that Xengate and the usual clients call.

import { ApiFailure, type ObjectRecord, type Tables, textOf, type Value } from './tables.ts'

/** Where a call came from: a local connection is root, whatever name and password say. */
export interface Caller {
  readonly isLocal: boolean
  /** Set when this listener plays a member of the pool: the coordinator's address. */
  readonly coordinatorAddress: string | null
}

type Handler = (tables: Tables, params: readonly Value[], caller: Caller) => Value | Promise<Value>

const WAIT_MS_MAX = 30_000

/** Runs one call. @throws {ApiFailure} */
export async function callMethod(
  tables: Tables,
  name: string,
  params: readonly Value[],
  caller: Caller,
): Promise<Value> {
  if (name === 'session.login_with_password') return login(tables, params, caller)
  if (name === 'system.listMethods') return ['session.login_with_password', ...Object.keys(METHODS)]
  if (!Object.hasOwn(METHODS, name)) throw new ApiFailure('MESSAGE_METHOD_UNKNOWN', name)
  if (caller.coordinatorAddress !== null) throw new ApiFailure('HOST_IS_SLAVE', caller.coordinatorAddress)
  const [session, ...rest] = params
  tables.use(textOf(session))
  return METHODS[name]?.(tables, name === 'session.logout' ? [textOf(session)] : rest, caller) ?? ''
}

function login(tables: Tables, params: readonly Value[], caller: Caller): Value {
  const [user = '', password = '', , originator = ''] = params.map(textOf)
  if (caller.coordinatorAddress !== null) throw new ApiFailure('HOST_IS_SLAVE', caller.coordinatorAddress)
  if (caller.isLocal) return tables.openSession('root', originator)
  if (tables.users.get(user)?.password !== password) {
    throw new ApiFailure('SESSION_AUTHENTICATION_FAILED', user, 'Authentication failure')
  }
  return tables.openSession(user, originator)
}

const METHODS: Readonly<Record<string, Handler>> = {
  'session.logout': (tables, [ref]) => {
    tables.sessions.delete(textOf(ref))
    return ''
  },
  'session.get_record': (tables, [ref]) => tables.sessionRecord(textOf(ref)),
  'session.get_uuid': (tables, [ref]) => tables.sessionRecord(textOf(ref))['uuid'] ?? '',
  'pool.get_all': (tables) => [tables.poolRef],
  'pool.get_all_records': (tables) => ({ [tables.poolRef]: tables.poolRecord() }),
  'pool.get_record': (tables) => tables.poolRecord(),
  'pool.get_master': (tables) => tables.coordinator,
  'pool.get_ha_enabled': (tables) => tables.hasHa,
  'pool.get_other_config': (tables) => tables.poolConfig,
  'pool.add_to_other_config': (tables, [ref, key, value]) => {
    if (Object.hasOwn(tables.poolConfig, textOf(key))) {
      throw new ApiFailure('MAP_DUPLICATE_KEY', 'pool', 'other_config', textOf(ref), textOf(key))
    }
    tables.poolConfig[textOf(key)] = textOf(value)
    return ''
  },
  'pool.remove_from_other_config': (tables, [, key]) => {
    delete tables.poolConfig[textOf(key)]
    return ''
  },
  'subject.get_roles': (tables, [ref]) => known('subject', tables.subjects, ref)['roles'] ?? [],
  'subject.get_record': (tables, [ref]) => known('subject', tables.subjects, ref),
  'role.get_all_records': (tables) => Object.fromEntries(tables.roles),
  'role.get_record': (tables, [ref]) => known('role', tables.roles, ref),
  'role.get_name_label': (tables, [ref]) => known('role', tables.roles, ref)['name_label'] ?? '',
  'host.get_all': (tables) => [...tables.hosts.keys()],
  'host.get_all_records': (tables) => Object.fromEntries(tables.hosts),
  'host.get_record': (tables, [ref]) => known('host', tables.hosts, ref),
  'host.get_by_uuid': (tables, [uuid]) => {
    for (const [ref, record] of tables.hosts) if (record['uuid'] === uuid) return ref
    throw new ApiFailure('UUID_INVALID', 'host', textOf(uuid))
  },
  'host.get_API_version_major': () => '2',
  'host.get_API_version_minor': () => '21',
  'host.get_other_config': (tables, [ref]) => known('host', tables.hosts, ref)['other_config'] ?? {},
  'host.add_to_other_config': (tables, [ref, key, value]) => {
    const config = otherConfig(tables, ref)
    if (Object.hasOwn(config, textOf(key))) {
      throw new ApiFailure('MAP_DUPLICATE_KEY', 'host', 'other_config', textOf(ref), textOf(key))
    }
    config[textOf(key)] = textOf(value)
    tables.changed('host', textOf(ref), 'mod')
    return ''
  },
  'host.remove_from_other_config': (tables, [ref, key]) => {
    delete otherConfig(tables, ref)[textOf(key)]
    tables.changed('host', textOf(ref), 'mod')
    return ''
  },
  'host.call_plugin': (tables, [ref, plugin, fn, args]) => {
    known('host', tables.hosts, ref)
    if (plugin !== 'of-xapi.py') throw new ApiFailure('XENAPI_MISSING_PLUGIN', textOf(plugin))
    return `${textOf(fn)} of xapi: ${JSON.stringify(args)}`
  },
  'host_metrics.get_all_records': (tables) => Object.fromEntries(tables.metrics),
  'host_metrics.get_record': (tables, [ref]) => known('host_metrics', tables.metrics, ref),
  'message.create': (tables, [name, priority, cls, uuid, body]) => {
    const isHost = [...tables.hosts.values()].some((record) => record['uuid'] === uuid)
    if (cls !== 'Host' || !isHost) throw new ApiFailure('UUID_INVALID', textOf(cls), textOf(uuid))
    tables.messages.push({ name: textOf(name), priority: Number(priority), obj_uuid: textOf(uuid), body: textOf(body) })
    return `OpaqueRef:message-${tables.messages.length}`
  },
  'event.from': eventFrom,
}

function otherConfig(tables: Tables, ref: Value | undefined): ObjectRecord {
  return known('host', tables.hosts, ref)['other_config'] as ObjectRecord
}

function known(className: string, table: ReadonlyMap<string, ObjectRecord>, ref: Value | undefined): ObjectRecord {
  const record = table.get(textOf(ref))
  if (record === undefined) throw new ApiFailure('HANDLE_INVALID', className, textOf(ref))
  return record
}

async function eventFrom(tables: Tables, [classes, token, timeout]: readonly Value[]): Promise<Value> {
  const wanted = (classes as Value[]).map(textOf)
  const since = tokenNumber(textOf(token))
  const lastMs = performance.now() + Math.min(Number(timeout) * 1000, WAIT_MS_MAX)
  for (;;) {
    if (since !== 0 && since < tables.lostBefore) throw new ApiFailure('EVENTS_LOST')
    const events = tables.eventsSince(wanted, since)
    const leftMs = lastMs - performance.now()
    if (events.length > 0 || leftMs <= 0) {
      const generation = String(tables.generation).padStart(20, '0')
      return { events, token: `${generation},${'0'.repeat(20)}`, valid_ref_counts: { host: tables.hosts.size } }
    }
    await tables.nextChange(leftMs)
  }
}

function tokenNumber(token: string): number {
  if (token === '') return 0
  const number = /^(\d+),\d+$/.exec(token)?.[1]
  if (number === undefined) throw new ApiFailure('EVENT_FROM_TOKEN_PARSE_FAILURE', token)
  return Number(number)
}
