// Methods of the classes pool and host: reading, for every role.

import { handleInvalid, uuidInvalid } from './errors.ts'
import { anyRole, type Method, type MethodTable, type XenApiState } from './method.ts'
import { hostRecord, hostsOf, poolRecord, poolReference, type XenApiPool, type XenApiRecord } from './records.ts'

/** A class, with the objects in it as of now. */
interface Kind {
  readonly className: string
  readonly objects: (state: XenApiState) => ReadonlyMap<string, XenApiRecord>
}

const POOL: Kind = {
  className: 'pool',
  objects: ({ pool }) => new Map([[poolReference(pool), poolRecord(pool)]]),
}

const HOST: Kind = {
  className: 'host',
  objects: ({ pool, version }) =>
    new Map(hostsOf(pool).map((host) => [`OpaqueRef:${host.uuid}`, hostRecord(host, version)])),
}

/** Which fields there are does not depend on what is in them. */
const NO_POOL: XenApiPool = {
  poolUuid: '',
  poolName: '',
  hostUuid: '',
  hostName: '',
  hostAddress: '',
  otherAddresses: [],
}

/** Methods of the class pool. */
export function poolMethods(): MethodTable {
  return readers(POOL, Object.keys(poolRecord(NO_POOL)))
}

/** Methods of the class host. */
export function hostMethods(): MethodTable {
  return {
    ...readers(HOST, Object.keys(hostRecord({ uuid: '', name: '', address: '', isOwn: true }, ''))),
    'host.get_by_name_label': anyRole(['label'], ({ state }, args) => {
      const found = [...HOST.objects(state)].filter(([, record]) => record['name_label'] === args.text(0))
      return found.map(([reference]) => reference)
    }),
    'host.get_servertime': onObject(HOST, (_record, { clock }) => new Date(clock())),
  }
}

/** `get_all`, `get_all_records`, `get_record`, `get_by_uuid`, and `get_<field>` for each field. */
function readers(kind: Kind, fields: readonly string[]): MethodTable {
  const { className, objects } = kind
  const getters = fields.map((field) => [`${className}.get_${field}`, onObject(kind, (record) => record[field] ?? '')])
  return {
    [`${className}.get_all`]: anyRole([], ({ state }) => [...objects(state).keys()]),
    [`${className}.get_all_records`]: anyRole([], ({ state }) => Object.fromEntries(objects(state))),
    [`${className}.get_by_uuid`]: anyRole(['uuid'], ({ state }, args) => {
      const reference = `OpaqueRef:${args.text(0)}`
      if (!objects(state).has(reference)) throw uuidInvalid(className, args.text(0))
      return reference
    }),
    [`${className}.get_record`]: onObject(kind, (record) => record),
    ...(Object.fromEntries(getters) as MethodTable),
  }
}

/** A method on an object of the class. */
function onObject(
  { className, objects }: Kind,
  read: (record: XenApiRecord, state: XenApiState) => XenApiRecord[string],
): Method {
  return anyRole(['self'], ({ state }, args) => {
    const record = objects(state).get(args.text(0))
    if (record === undefined) throw handleInvalid(className, args.text(0))
    return read(record, state)
  })
}
