// Records of the objects there are: one pool, this host, and the others that run services, as far as the registry knows them.
//
// Fields that have no meaning here hold what xapi has in them on a fresh host, so that clients that look at them cope.

import { arch, availableParallelism, hostname } from 'node:os'

import { uuidOf } from '../uuid.ts'
import type { RpcValue } from './values.ts'

/** Refers to nothing. */
export const NULL_REFERENCE = 'OpaqueRef:NULL'

/** Version of the XenAPI that is spoken, `host.API_version_*`. */
export const API_VERSION: { readonly major: string; readonly minor: string } = { major: '2', minor: '21' }

/** What clients are told about pool and host. Read at each call, so that an object with getters follows a reload. */
export interface XenApiPool {
  readonly poolUuid: string
  readonly poolName: string
  readonly hostUuid: string
  readonly hostName: string
  /** An IP address, without brackets, or a host name. */
  readonly hostAddress: string
  /** Addresses of other hosts of the pool that run services, each once. */
  readonly otherAddresses: readonly string[]
}

/** A host, as it is told. */
export interface PoolHost {
  readonly uuid: string
  readonly name: string
  readonly address: string
  /** Whether it is this one, of which more is known. */
  readonly isOwn: boolean
}

/** The hosts of the pool, this one first. */
export function hostsOf({ hostUuid, hostName, hostAddress, otherAddresses }: XenApiPool): readonly PoolHost[] {
  const others = otherAddresses.map((address) => ({
    uuid: uuidOf(`host ${address}`),
    name: address,
    address,
    isOwn: false,
  }))
  return [{ uuid: hostUuid, name: hostName, address: hostAddress, isOwn: true }, ...others]
}

/** A record, by its fields' names. */
export type XenApiRecord = Readonly<Record<string, RpcValue>>

/** An object with its class and reference. */
export interface XenApiObject {
  readonly className: 'pool' | 'host'
  readonly reference: string
  readonly record: XenApiRecord
}

/** Reference of the pool. */
export function poolReference(pool: XenApiPool): string {
  return `OpaqueRef:${pool.poolUuid}`
}

/** Reference of the host. */
export function hostReference(pool: XenApiPool): string {
  return `OpaqueRef:${pool.hostUuid}`
}

/** The objects of which events tell, as of now: pool and this host. `version` is the program's. */
export function objectsOf(pool: XenApiPool, version: string): XenApiObject[] {
  const [own] = hostsOf(pool)
  return [
    { className: 'pool', reference: poolReference(pool), record: poolRecord(pool) },
    { className: 'host', reference: hostReference(pool), record: own === undefined ? {} : hostRecord(own, version) },
  ]
}

/** The pool's record. */
export function poolRecord(pool: XenApiPool): XenApiRecord {
  return {
    uuid: pool.poolUuid,
    name_label: pool.poolName,
    name_description: '',
    master: hostReference(pool),
    default_SR: NULL_REFERENCE,
    suspend_image_SR: NULL_REFERENCE,
    crash_dump_SR: NULL_REFERENCE,
    other_config: {},
    ha_enabled: false,
    ha_configuration: {},
    ha_statefiles: [],
    ha_host_failures_to_tolerate: '0',
    ha_plan_exists_for: '0',
    ha_allow_overcommit: false,
    ha_overcommitted: false,
    ha_cluster_stack: '',
    blobs: {},
    tags: [],
    gui_config: {},
    health_check_config: {},
    guest_agent_config: {},
    cpu_info: {},
    wlb_url: '',
    wlb_username: '',
    wlb_enabled: false,
    wlb_verify_cert: false,
    redo_log_enabled: false,
    redo_log_vdi: NULL_REFERENCE,
    vswitch_controller: '',
    restrictions: {},
    metadata_VDIs: [],
    allowed_operations: [],
    current_operations: {},
    policy_no_vendor_device: false,
    live_patching_disabled: false,
    igmp_snooping_enabled: false,
    tls_verification_enabled: false,
  }
}

/** A host's record. */
export function hostRecord({ uuid, name, address, isOwn }: PoolHost, version: string): XenApiRecord {
  return {
    uuid,
    name_label: name,
    name_description: '',
    hostname: isOwn ? hostname() : address,
    address,
    enabled: true,
    API_version_major: API_VERSION.major,
    API_version_minor: API_VERSION.minor,
    API_version_vendor: 'Xengate',
    API_version_vendor_implementation: {},
    software_version: isOwn
      ? { product_brand: 'Xengate', product_version: version, product_version_text: version }
      : {},
    cpu_info: isOwn ? { cpu_count: String(availableParallelism()), vendor: '', modelname: arch() } : {},
    memory_overhead: '0',
    other_config: {},
    allowed_operations: [],
    current_operations: {},
    capabilities: [],
    cpu_configuration: {},
    sched_policy: '',
    supported_bootloaders: [],
    resident_VMs: [],
    logging: {},
    PIFs: [],
    PBDs: [],
    PCIs: [],
    PGPUs: [],
    host_CPUs: [],
    crashdumps: [],
    patches: [],
    updates: [],
    features: [],
    suspend_image_sr: NULL_REFERENCE,
    crash_dump_sr: NULL_REFERENCE,
    local_cache_sr: NULL_REFERENCE,
    control_domain: NULL_REFERENCE,
    metrics: NULL_REFERENCE,
    blobs: {},
    tags: [],
    edition: '',
    license_params: {},
    license_server: {},
    bios_strings: {},
    chipset_info: {},
    power_on_mode: '',
    power_on_config: {},
    guest_VCPUs_params: {},
    external_auth_type: '',
    external_auth_service_name: '',
    external_auth_configuration: {},
    ha_statefiles: [],
    ha_network_peers: [],
    display: 'enabled',
    virtual_hardware_platform_versions: [],
    multipathing: false,
    iscsi_iqn: '',
    uefi_certificates: '',
    certificates: [],
  }
}
