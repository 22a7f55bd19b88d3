// Methods of the classes pool and host: reading, for every role.

import { handleInvalid, uuidInvalid } from './errors.ts'
import { anyRole, type Method, type MethodTable, type XenApiState } from './method.ts'
import { hostRecord, hostReference, poolRecord, poolReference, type XenApiPool, type XenApiRecord } from './records.ts'

/** A class with one object in it. */
interface Singleton {
  readonly className: string
  readonly reference: (pool: XenApiPool) => string
  readonly record: (state: XenApiState) => XenApiRecord
}

const POOL: Singleton = {
  className: 'pool',
  reference: poolReference,
  record: ({ pool }) => poolRecord(pool),
}

const HOST: Singleton = {
  className: 'host',
  reference: hostReference,
  record: ({ pool, version }) => hostRecord(pool, version),
}

/** Which fields there are does not depend on what is in them. */
const NO_POOL: XenApiPool = { poolUuid: '', poolName: '', hostUuid: '', hostName: '', hostAddress: '' }

/** Methods of the class pool. */
export function poolMethods(): MethodTable {
  return readers(POOL, Object.keys(poolRecord(NO_POOL)))
}

/** Methods of the class host. */
export function hostMethods(): MethodTable {
  return {
    ...readers(HOST, Object.keys(hostRecord(NO_POOL, ''))),
    'host.get_by_name_label': anyRole(['label'], ({ state: { pool } }, args) =>
      args.text(0) === pool.hostName ? [hostReference(pool)] : [],
    ),
    'host.get_servertime': onObject(HOST, ({ clock }) => new Date(clock())),
  }
}

/** `get_all`, `get_all_records`, `get_record`, `get_by_uuid`, and `get_<field>` for each field. */
function readers(singleton: Singleton, fields: readonly string[]): MethodTable {
  const { className, reference, record } = singleton
  const getters = fields.map((field) => [
    `${className}.get_${field}`,
    onObject(singleton, (state) => record(state)[field] ?? ''),
  ])
  return {
    [`${className}.get_all`]: anyRole([], ({ state }) => [reference(state.pool)]),
    [`${className}.get_all_records`]: anyRole([], ({ state }) => ({ [reference(state.pool)]: record(state) })),
    [`${className}.get_by_uuid`]: anyRole(['uuid'], ({ state }, args) => {
      if (args.text(0) !== record(state)['uuid']) throw uuidInvalid(className, args.text(0))
      return reference(state.pool)
    }),
    [`${className}.get_record`]: onObject(singleton, record),
    ...(Object.fromEntries(getters) as MethodTable),
  }
}

/** A method on the class's one object. */
function onObject({ className, reference }: Singleton, read: (state: XenApiState) => XenApiRecord[string]): Method {
  return anyRole(['self'], ({ state }, args) => {
    if (args.text(0) !== reference(state.pool)) throw handleInvalid(className, args.text(0))
    return read(state)
  })
}
