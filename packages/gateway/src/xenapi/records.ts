// Records of the two objects there are: one pool, with one host in it.
//
// Fields that have no meaning here hold what xapi has in them on a fresh host, so that clients that look at them cope.

import { arch, availableParallelism, hostname } from 'node:os'

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

/** Every object, as of now. `version` is the program's. */
export function objectsOf(pool: XenApiPool, version: string): XenApiObject[] {
  return [
    { className: 'pool', reference: poolReference(pool), record: poolRecord(pool) },
    { className: 'host', reference: hostReference(pool), record: hostRecord(pool, version) },
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

/** The host's record. */
export function hostRecord(pool: XenApiPool, version: string): XenApiRecord {
  return {
    uuid: pool.hostUuid,
    name_label: pool.hostName,
    name_description: '',
    hostname: hostname(),
    address: pool.hostAddress,
    enabled: true,
    API_version_major: API_VERSION.major,
    API_version_minor: API_VERSION.minor,
    API_version_vendor: 'Xengate',
    API_version_vendor_implementation: {},
    software_version: { product_brand: 'Xengate', product_version: version, product_version_text: version },
    cpu_info: { cpu_count: String(availableParallelism()), vendor: '', modelname: arch() },
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
