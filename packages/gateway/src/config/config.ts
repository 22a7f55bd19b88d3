// The configuration as the daemon has it: plain data, complete and checked. What the file may hold is in schema.ts.

import type { LogLevel } from '../logging/level.ts'
import type { LimitsConfig } from '../model/limits.ts'
import type { OverloadConfig } from '../model/overload.ts'
import type { PolicySetting } from '../model/policy.ts'
import type { ServiceLimits } from '../model/service-limits.ts'
import type { TransportWanted } from '../model/transport.ts'
import type { ValkeySettings } from '../valkey/url.ts'
import type { XapiSettings } from '../xapi/address.ts'
import type { ListenAddress, Upstream } from './addresses.ts'

/** The configuration, complete and checked: plain data, sent to workers as it is. Paths are absolute. */
export interface Config {
  /** Directory of what must outlive the daemon: the database of users and sessions. */
  readonly stateDir: string
  /** How many worker processes; `auto` is one for each core. */
  readonly workers: number | 'auto'
  /** Whom workers run as; `null`: the daemon's own user. */
  readonly workerUser: string | number | null
  /** How workers have their connections. */
  readonly transport: TransportWanted
  /** At least one, no two alike. */
  readonly listen: readonly ListenConfig[]
  /** Names that the gateway goes by, in lower case; none: any. */
  readonly hostNames: readonly string[]
  readonly services: ServicesConfig
  readonly sessions: SessionsConfig
  readonly pool: PoolConfig
  /** xapi behind the gateway; `null` when it does not stand in front of one. */
  readonly front: FrontConfig | null
  /** For the authority and the registry `valkey`. */
  readonly valkey: ValkeySettings
  readonly limits: LimitsConfig
  readonly overload: OverloadConfig
  readonly control: ControlConfig
  /** Where traces go; `null`: nowhere. */
  readonly traces: TracesConfig | null
  readonly log: LogConfig
  readonly host: HostConfig
}

export interface ListenConfig {
  readonly address: ListenAddress
  /** Whether each connection begins with a header of the PROXY protocol. */
  readonly proxyProtocol: boolean
  /** Of a Unix socket: its permission bits, and whose it is, by name or number; `null`: the daemon's user and group. */
  readonly mode: number
  readonly owner: string | number | null
  readonly group: string | number | null
  /** Files in PEM; `null` for plain HTTP. */
  readonly tls: { readonly certificate: string; readonly key: string } | null
}

export interface TracesConfig {
  /** URL of a collector that takes OTLP over HTTP. */
  readonly endpoint: string
  /** The part of requests that is traced, of those that come without a traceparent: 0 to 1. */
  readonly sample: number
}

/** What is behind the gateway, and gets all that is not for a service. */
export interface FrontConfig {
  readonly upstream: Upstream
  /** Whether xapi is told of each client by the PROXY protocol. */
  readonly proxyProtocol: boolean
  /** Whether calls of plugins of this host are answered by the services that have the plugins' names. */
  readonly pluginCalls: boolean
}

export interface ServicesConfig {
  /** Directories of services' sockets, in order. */
  readonly directories: readonly string[]
  /** Methods that are passed to services. */
  readonly methods: readonly string[]
  /** Whether clients' connections may be passed to services. */
  readonly channels: boolean
  /** Of services that have no policy of their own. */
  readonly limits: ServiceLimits
  /** Policies by service name. Look a name up with `Object.hasOwn`: `constructor` is a name too. */
  readonly policy: Readonly<Record<string, PolicySetting>>
}

export interface SessionsConfig {
  readonly authority: 'embedded' | 'valkey' | 'xapi'
  /** Whether browsers without a session are sent to the sign-in page. */
  readonly signInPage: boolean
  readonly idleTimeoutMs: number
  readonly maxPerUser: number
  readonly maxPerOriginator: number
  /** How long known sessions are trusted while nothing is heard of the authority. */
  readonly staleGraceMs: number
  readonly xapi: XapiConfig
}

/** For the authority and the registry `xapi`. */
export interface XapiConfig extends XapiSettings {
  /** How long an answer of xapi about a session is trusted. */
  readonly recheckMs: number
}

export interface PoolConfig {
  readonly name: string
  /** This host's name. */
  readonly host: string
  /** Origin under which clients reach this host; `null` when not given. */
  readonly address: string | null
  readonly registry: 'none' | 'static' | 'valkey' | 'xapi'
  /** Origins of services on other hosts, by service name; for the registry `static`. */
  readonly static: Readonly<Record<string, string>>
}

/** How the gateway is watched. */
export interface ControlConfig {
  /** Where metrics and health are read without a session; `null`: nowhere. */
  readonly metrics: ListenAddress | null
  /** Whether the dashboard is served. */
  readonly dashboard: boolean
  /** Whether every listener answers `GET /healthz`. */
  readonly health: boolean
}

export interface LogConfig {
  readonly level: LogLevel
  /** Whether each request is logged. */
  readonly access: boolean
  readonly to: 'stdout' | 'syslog'
  /** Whether the audit is written, to syslog. */
  readonly audit: boolean
  /** Path of syslog's socket. */
  readonly syslog: string
}

/** What a XenServer or XCP-ng host is told. */
export interface HostConfig {
  /** Names of services that are to accept connections. */
  readonly expectedServices: readonly string[]
  /** Whether xapi is told, by messages of this host, of services that are down and of failures of the gateway. */
  readonly alerts: boolean
  /** How long an expected service may not accept connections before that. */
  readonly alertAfterMs: number
  /** Whether xcp-rrdd is given data sources, and the directory where it looks for them. */
  readonly dataSources: boolean
  readonly metricsDirectory: string
}
