// What the configuration file may hold: every option, declared once with its type, bounds, default and one line for operators. The
// JSON Schema, the sample file and the reference page are made from what stands here.

import { hostname } from 'node:os'
import { resolve } from 'node:path'
import * as z from 'zod'
import { SERVICE_NAME_PATTERN, isServiceName } from '@xengate/channel/contract'
import { LOG_LEVELS } from '../logging/level.ts'
import { ROLES } from '../model/role.ts'
import type { ServiceLimits } from '../model/service-limits.ts'
import { TRANSPORTS } from '../model/transport.ts'
import type { ListenAddress } from './addresses.ts'
import type { Config, ListenConfig } from './config.ts'
import type { JsonSchema } from './json-schema.ts'
import {
  account,
  duration,
  fileMode,
  filePath,
  hostName,
  httpUrl,
  listenAddress,
  methodName,
  option,
  origin,
  upstream,
  valkeyUrl,
  whole,
  xapiAddress,
} from './options.ts'
import { crossIssues, type Issue, issue, socketFileIssues } from './rules.ts'

const DAY_MS = 86_400_000

// A timer of Node.js takes at most 2^31 - 1 ms, a little more than 24 days.
const TIMEOUT = { minMs: 1, maxMs: DAY_MS }
/** The proof that the authority is heard comes four times in it: a shorter one would be over before the next. */
const STALE_GRACE_MS_MIN = 100
const SESSION_TIMEOUT = { minMs: 1, maxMs: 24 * DAY_MS }

const serviceName = z.string().refine(isServiceName, 'cannot be the name of a service').meta({
  pattern: SERVICE_NAME_PATTERN.source,
})

const ROLES_WANTED = 'must be an array of roles, or a table of such arrays by method'
const roles = z.array(z.enum(ROLES).meta({ title: 'role' })).min(1)

const tls = z
  .strictObject({
    certificate: option(filePath(), { description: 'file of the certificate, and those that signed it, in PEM' }),
    key: option(filePath(), { description: 'file of its private key, in PEM' }),
  })
  .meta({ title: '`{ certificate, key }`: paths' })

const listen = z.strictObject({
  address: option(listenAddress(), {
    description: 'where to listen: host:port, [IPv6 address]:port or unix:/path; port 0 lets the system choose',
    example: '127.0.0.1:8080',
  }),
  'proxy-protocol': option(z.boolean().prefault(false), {
    description:
      'whether each connection begins with a header of the PROXY protocol, version 1 or 2, from a TLS proxy or load balancer in front',
  }),
  mode: option(fileMode().optional(), {
    description:
      'of a Unix socket: its permission bits, in octal; default: "0666", and "0600" with proxy-protocol, since who connects there can claim any address',
    example: '0660',
  }),
  owner: option(account().optional(), {
    description: 'of a Unix socket: name or number of the user whose it is; default: the one that the daemon runs as',
    example: 'root',
  }),
  group: option(account().optional(), {
    description: 'of a Unix socket: name or number of its group; default: that of the daemon',
    example: 'root',
  }),
  tls: option(tls.optional(), {
    description:
      'TLS 1.2 and 1.3, with a certificate (and those that signed it) and its key in PEM, which are read again when they change',
    example: { certificate: '/etc/xengate/cert.pem', key: '/etc/xengate/key.pem' },
  }),
})

/** What a service may be asked at once; in a policy each is that of `[services.limits]` unless it is given. */
const serviceLimits = {
  requests: option(whole({ min: 0, max: 1_000_000 }), {
    description:
      'requests and WebSockets that a service has at once from each worker; more wait for their turn; 0: any',
  }),
  queue: option(whole({ min: 0, max: 100_000 }), {
    description: 'requests that may wait for their turn in each worker, by turns of their sessions; more get 503',
  }),
  'queue-timeout': option(duration(TIMEOUT), { description: 'how long one may wait for its turn, then 503' }),
  'session-rate': option(whole({ min: 0, max: 1_000_000 }), {
    description:
      'requests a second that one session may make to a service by each worker, and as many at once after a pause; more get 503; 0: any',
  }),
  'breaker-failures': option(whole({ min: 0, max: 1_000_000 }), {
    description:
      'after so many failures in a row, or so many that are half of all in 10 s, a service is not asked for a moment: its requests get 503; failures are no connection, 502 and 504 of the gateway, and not what the service answers; 0: never',
  }),
  'breaker-pause': option(duration(TIMEOUT), {
    description: 'for how long; then one request tries whether the service is well again',
  }),
}

const limitsOfServices = z.strictObject({
  requests: serviceLimits.requests.prefault(0),
  queue: serviceLimits.queue.prefault(100),
  'queue-timeout': serviceLimits['queue-timeout'].prefault('10s'),
  'session-rate': serviceLimits['session-rate'].prefault(0),
  'breaker-failures': serviceLimits['breaker-failures'].prefault(20),
  'breaker-pause': serviceLimits['breaker-pause'].prefault('5s'),
})

const limitsOfPolicy = z.strictObject(serviceLimits).partial()

const policy = z.strictObject({
  roles: option(z.union([roles, z.record(methodName(), roles)], ROLES_WANTED).optional(), {
    description: `who may: roles (${ROLES.join(', ')}; a higher one includes a lower) or a table of roles by method, where a method that is not listed is denied to everyone; default: any valid session`,
    example: ['pool-admin', 'pool-operator'],
  }),
  channels: option(z.boolean().prefault(true), {
    description: "whether clients' connections may be passed to this service; never with strip-session",
  }),
  'strip-session': option(z.boolean().prefault(false), {
    description: 'whether the service does not see the session id',
  }),
  reuse: option(z.enum(['without-body', 'always']).prefault('without-body'), {
    description:
      'when a connection to the service is used again: after requests without a body; or always, which is safe only if the service reads every body to its end, also of requests that it refuses',
  }),
  'cut-transfers': option(z.boolean().prefault(true), {
    description: 'whether requests under way are cut when their session ends; WebSockets and channels always are',
  }),
  limits: option(limitsOfPolicy.prefault({}).meta({ title: '`{ requests = 4, … }`' }), {
    description: 'what of [services.limits] is otherwise for this service',
    example: { requests: 4, queue: 20 },
  }),
})

const services = z.strictObject({
  directories: option(z.array(filePath()).min(1).max(16).prefault(['/var/xapi/plugin']), {
    description: "where services' sockets are, in order",
  }),
  methods: option(z.array(methodName()).min(1).max(32).prefault(['GET', 'PUT', 'POST']), {
    description: 'request methods that are passed to services',
  }),
  channels: option(z.boolean().prefault(true), {
    description:
      "whether clients' connections may be passed to services that take channels; never at listeners with tls",
  }),
  limits: option(limitsOfServices.prefault({}), {
    description:
      'what each service may be asked at once, by each worker; connections are not passed to a service with requests or session-rate',
  }),
  policy: option(z.record(serviceName, policy).prefault({}), {
    description: 'rules for one service, by its name',
    example: {
      'com.example.backup': {
        roles: ['pool-admin', 'pool-operator'],
        channels: true,
        'strip-session': true,
        reuse: 'without-body',
        'cut-transfers': true,
        limits: { requests: 4 },
      },
    },
  }),
})

const xapi = z.strictObject({
  url: option(xapiAddress().prefault('unix:/var/lib/xcp/xapi'), {
    description: 'where xapi is: unix:/path of its socket, or https://host[:port]',
  }),
  ca: option(filePath().optional(), {
    description: "for HTTPS: file of certificates that xapi's may be signed by; default: those that the system trusts",
    example: '/etc/xengate/xapi-ca.pem',
  }),
  user: option(z.string().min(1).max(255).prefault('root'), {
    description: 'for HTTPS, also to a coordinator on another host: who to log in as; needs the role pool-admin',
  }),
  'password-file': option(filePath().optional(), {
    description: "for HTTPS: file with the user's password, read at each login",
    example: '/etc/xengate/xapi-password',
  }),
  recheck: option(duration({ minMs: 20, maxMs: 3_600_000 }).prefault('2s'), {
    description: 'how long an answer of xapi about a session is trusted; a session in use is asked about as often',
  }),
})

const sessions = z.strictObject({
  authority: option(z.enum(['embedded', 'valkey', 'xapi']).prefault('embedded'), {
    description:
      'what judges sessions; embedded: users and sessions in the state directory; valkey: in Valkey, for a pool; xapi: those of the host',
  }),
  'sign-in-page': option(z.boolean().prefault(false), {
    description:
      "whether a browser that asks for a service's page without a session is sent to the dashboard's sign-in page (302), and back; programs get 403 in any case",
  }),
  'idle-timeout': option(duration(SESSION_TIMEOUT).prefault('24h'), {
    description: 'a session unused for this long is removed',
  }),
  'max-per-user': option(whole({ min: 1, max: 1_000_000 }).prefault(500), {
    description: 'sessions of one user name; past that the least recently active ones go',
  }),
  'max-per-originator': option(whole({ min: 1, max: 1_000_000 }).prefault(500), {
    description:
      "sessions of one originator, of all users; past that go those of the user who signs in, or else of the user who has most there; never a local superuser's for somebody else",
  }),
  'stale-grace': option(duration({ minMs: STALE_GRACE_MS_MIN, maxMs: DAY_MS }).prefault('5s'), {
    description:
      'how long sessions already seen stay valid while the session store is unreachable, then 503; with xapi, how old its last answer about a session may be, if that is more than recheck',
  }),
  xapi: option(xapi.prefault({}), { description: 'for the authority and the registry xapi' }),
})

const pool = z.strictObject({
  name: option(z.string().min(1).max(100).prefault('pool'), { description: 'name of the pool' }),
  host: option(z.string().min(1).max(100).optional(), {
    description: "this host's name, unique in the pool; default: the machine's host name",
    example: 'host-a',
  }),
  address: option(origin().optional(), {
    description: 'where clients reach this host: http(s)://host[:port]',
    example: 'https://10.0.0.1',
  }),
  registry: option(z.enum(['none', 'static', 'valkey', 'xapi']).prefault('none'), {
    description:
      'how services on other hosts are found; static: from the table pool.static; valkey, xapi: hosts tell each other',
  }),
  static: option(z.record(serviceName, origin()).prefault({}), {
    description: 'for the registry static: a service name and the origin of the host that has it',
    example: { 'com.example.elsewhere': 'https://10.0.0.2' },
  }),
})

const front = z.strictObject({
  upstream: option(upstream(), {
    description: 'where xapi takes plain HTTP: http://host[:port]',
    example: 'http://127.0.0.1:80',
  }),
  'proxy-protocol': option(z.boolean().prefault(false), {
    description: "whether xapi is told each client's address, as its own stunnel does (PROXY protocol, version 1)",
  }),
  'plugin-calls': option(z.boolean().prefault(false), {
    description:
      'whether the call host.call_plugin, for a plugin of this host whose name a service here has, is answered by that service in place of xapi; needs the registry xapi',
  }),
})

const valkey = z.strictObject({
  url: option(valkeyUrl().prefault('redis://127.0.0.1:6379'), {
    description:
      'where Valkey or Redis is: redis://[user:password@]host[:port][/database], rediss:// with TLS, unix:/path, redis+sentinel://host,…/master, redis+cluster://host,…',
  }),
  ca: option(filePath().optional(), {
    description:
      "for TLS: file of certificates that the server's may be signed by; default: those that the system trusts",
    example: '/etc/xengate/valkey-ca.pem',
  }),
  'password-file': option(filePath().optional(), {
    description: 'file with the password, read at each connection, so that it need not stand in the URL',
    example: '/etc/xengate/valkey-password',
  }),
})

const limits = z.strictObject({
  'head-bytes': option(whole({ min: 512, max: 1_048_576 }).prefault(16_384), {
    description: "bytes of a request's or a response's head",
  }),
  'target-bytes': option(whole({ min: 64, max: 1_048_576 }).prefault(8192), {
    description: "bytes of a request's target",
  }),
  connections: option(whole({ min: 1, max: 1_000_000 }).prefault(10_000), {
    description: "clients' connections of each worker",
  }),
  share: option(whole({ min: 1, max: 100 }).prefault(75), {
    description:
      'percent of connections that one address of clients may have (an IPv6 network of 64 bits counts as one, the loopback as none), and that requests of one session may take; more get 503',
  }),
  'head-timeout': option(duration(TIMEOUT).prefault('10s'), {
    description: 'from the first byte of a request to the end of its head; also from the connection to the first byte',
  }),
  'idle-timeout': option(duration(TIMEOUT).prefault('75s'), {
    description: "how long a client's connection may wait for its next request",
  }),
  'connect-timeout': option(duration(TIMEOUT).prefault('5s'), { description: 'for connecting to a service' }),
  'response-timeout': option(duration(TIMEOUT).prefault('5m'), {
    description: "how long a service may take until its response's head",
  }),
  'body-idle-timeout': option(duration(TIMEOUT).prefault('60s'), {
    description: 'longest pause in a request or response body',
  }),
  'request-min-rate': option(whole({ min: 0, max: 1_000_000_000 }).prefault(0), {
    description: 'bytes a second that a client has to send of a body, over 10 s, while it is its turn; 0: any',
  }),
  'response-min-rate': option(whole({ min: 0, max: 1_000_000_000 }).prefault(0), {
    description: 'bytes a second that a client has to take of a response, over 10 s, while it is its turn; 0: any',
  }),
  'drain-timeout': option(duration({ minMs: 0, maxMs: DAY_MS }).prefault('30s'), {
    description: 'time for requests in progress when the daemon stops or reloads',
  }),
})

const overload = z.strictObject({
  descriptors: option(whole({ min: 1, max: 90 }).prefault(90), {
    description:
      'percent of the limit of open files; at 80 % of this idle connections end sooner, at 90 % answers end their connection, from here on new requests get 503, and at 110 % nothing is accepted',
  }),
  memory: option(whole({ min: 1, max: 90 }).prefault(90), {
    description:
      "the same in percent of the memory that Node.js's heap may have, or, if that is nearer, of MemoryMax of the daemon's systemd unit",
  }),
  'event-loop-delay': option(duration({ minMs: 10, maxMs: 60_000 }).prefault('1s'), {
    description:
      'the same of how late a worker is, for two seconds in a row: at half of this, at 75 %, from here on, and at twice as much',
  }),
})

const control = z.strictObject({
  metrics: option(listenAddress().optional(), {
    description:
      'where metrics (GET /metrics) and health (GET /healthz) are read without a session: host:port, [IPv6 address]:port or unix:/path; default: nowhere',
    example: '127.0.0.1:9090',
  }),
  dashboard: option(z.boolean().prefault(true), {
    description: 'whether the dashboard is served: at /, or at /xengate/ in front of xapi',
  }),
  health: option(z.boolean().prefault(false), {
    description:
      'whether listeners answer GET /healthz, too, without a session: 200, or 503 while the gateway stops or is out of service',
  }),
})

const traces = z.strictObject({
  endpoint: option(httpUrl().optional(), {
    description:
      'where spans of requests for services are sent by OTLP over HTTP, as http:// or https:// URL with its path; default: nowhere. OTEL_EXPORTER_OTLP_HEADERS in the environment adds fields to what is sent',
    example: 'http://127.0.0.1:4318/v1/traces',
  }),
  sample: option(z.number().min(0).max(1).prefault(1), {
    description:
      'the part of requests that is traced, from 0 to 1, of those that come without a traceparent; one that comes with it is traced when that says so',
  }),
})

const log = z.strictObject({
  level: option(z.enum(LOG_LEVELS).prefault('info'), {
    description: 'the least important level that is logged: trace, debug, info, warn or error',
  }),
  access: option(z.boolean().prefault(true), { description: 'whether each request is logged, at the level info' }),
  to: option(z.enum(['stdout', 'syslog']).prefault('stdout'), {
    description: "where the log goes: standard output, or the host's syslog with the facility daemon",
  }),
  audit: option(z.boolean().prefault(false), {
    description:
      "whether syslog's facility local6, which is xapi's audit, is told of each PUT and POST, of what was refused, and of acts of administrators",
  }),
  syslog: option(filePath().prefault('/dev/log'), { description: 'socket of syslog' }),
})

const EXPECTED_MAX = 100

const host = z.strictObject({
  'expected-services': option(z.array(serviceName).max(EXPECTED_MAX).prefault([]), {
    description:
      'names of services that are to accept connections: alerts tell when one does not, and when it does again',
    example: ['com.example.backup'],
  }),
  alerts: option(z.boolean().prefault(true), {
    description:
      'where the authority or the registry is xapi: whether messages of this host in xapi tell of expected services that are down, and of failures of the gateway',
  }),
  'alert-after': option(duration({ minMs: 100, maxMs: DAY_MS }).prefault('20s'), {
    description: 'how long an expected service may not accept connections before that is told',
  }),
  'data-sources': option(z.boolean().prefault(false), {
    description:
      'whether xcp-rrdd of the host is given requests, errors, latency and memory, which clients of xapi plot',
  }),
  'metrics-directory': option(filePath().prefault('/dev/shm/metrics'), {
    description: 'where xcp-rrdd looks for data sources',
  }),
})

const WORKERS_WANTED = 'must be "auto" or a whole number from 1 to 1024'

/** The file as it is written: kebab-case keys. */
const file = z
  .strictObject({
    'state-dir': option(filePath().prefault('/var/lib/xengate'), {
      description: 'directory of what must outlive the daemon: users and sessions',
    }),
    workers: option(z.union([z.literal('auto'), whole({ min: 1, max: 1024 })], WORKERS_WANTED).prefault('auto'), {
      description: 'worker processes: auto (one for each core) or a number',
    }),
    'worker-user': option(account().optional(), {
      description:
        'name or number of the user that workers run as, for a daemon that is started as root; default: the one that it runs as',
      example: 'xengate',
    }),
    transport: option(z.enum(TRANSPORTS).prefault('auto'), {
      description:
        'how workers have their connections: net (Node.js), or ring (io_uring; Linux 6.1 and later), which is net where it does not work; auto: net for now. TLS is always net',
    }),
    listen: option(
      z
        .array(listen)
        .min(1)
        .max(64)
        .prefault([{ address: '127.0.0.1:8080' }]),
      {
        description: 'one table [[listen]] for each listener',
      },
    ),
    'host-names': option(z.array(hostName()).max(64).prefault([]), {
      description:
        'names that requests may name in Host, against DNS rebinding: with any other, one gets 421; addresses may always be named; none listed: any name may',
      example: ['xen.example.com', 'localhost'],
    }),
    services: option(services.prefault({}), { description: 'custom services on this host' }),
    sessions: option(sessions.prefault({}), { description: 'logins and sessions' }),
    pool: option(pool.prefault({}), { description: 'this host and the others' }),
    front: option(front.optional(), {
      description: 'xapi behind the gateway, which gets every request that is not for a service',
      example: { upstream: 'http://127.0.0.1:80' },
    }),
    valkey: option(valkey.prefault({}), { description: 'for the authority and the registry valkey' }),
    limits: option(limits.prefault({}), { description: 'what is bounded, and by how much' }),
    overload: option(overload.prefault({}), {
      description: 'what is done, in steps, when a worker has too little of something',
    }),
    control: option(control.prefault({}), { description: 'how the gateway is watched' }),
    traces: option(traces.prefault({}), { description: 'spans of requests, for OpenTelemetry' }),
    log: option(log.prefault({}), { description: 'the log, on standard output' }),
    host: option(host.prefault({}), { description: 'what a XenServer or XCP-ng host is told' }),
  })
  .meta({ title: 'Xengate configuration', description: 'Configuration of the gateway, a TOML file' })

/** The JSON Schema (draft 2020-12) of the file as it is written. */
export function configJsonSchema(): JsonSchema {
  return z.toJSONSchema(file, {
    io: 'input',
    override: ({ jsonSchema }) => {
      if (!('example' in jsonSchema)) return
      jsonSchema.examples = [jsonSchema['example']]
      delete jsonSchema['example']
    },
  }) as JsonSchema
}

/** What {@link parseConfig} makes of a file. */
export type ParsedConfig =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly issues: readonly ConfigIssue[] }

/** What the schema finds wrong; `path` holds keys and array indices from the top of the file. */
export type ConfigIssue = z.core.$ZodIssue

/**
 * Checks a configuration and completes it with defaults.
 *
 * @param input the file's content as plain data, with its kebab-case keys.
 * @param directory relative paths are resolved against it.
 */
export function parseConfig(input: unknown, directory: string): ParsedConfig {
  const reserved = reservedKeys(input, [])
  if (reserved.length > 0) return { ok: false, issues: reserved }
  const parsed = file.safeParse(input)
  if (!parsed.success) return { ok: false, issues: parsed.error.issues }
  const config = toConfig(parsed.data, directory)
  const issues = [...socketFileIssues(parsed.data.listen), ...crossIssues(config)]
  return issues.length === 0 ? { ok: true, config } : { ok: false, issues }
}

/** Zod leaves out the key `__proto__` without a word, and with it the policy of a service that has this name. */
function reservedKeys(value: unknown, key: readonly PropertyKey[]): Issue[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]) =>
    name === '__proto__' ? [issue([...key, name], 'cannot be a key')] : reservedKeys(inner, [...key, name]),
  )
}

function toConfig(input: z.output<typeof file>, directory: string): Config {
  const { services: s, sessions: n, pool: p, limits: l, valkey: v, host: h } = input
  const { xapi: x } = n
  return {
    stateDir: resolve(directory, input['state-dir']),
    workers: input.workers,
    workerUser: input['worker-user'] ?? null,
    transport: input.transport,
    listen: input.listen.map((one) => toListen(one, directory)),
    hostNames: input['host-names'],
    services: {
      directories: s.directories.map((path) => resolve(directory, path)),
      methods: [...new Set(s.methods)],
      channels: s.channels,
      limits: toServiceLimits(s.limits),
      policy: mapValues(s.policy, (rule) => ({
        roles: rule.roles ?? null,
        stripSession: rule['strip-session'],
        channels: rule.channels,
        reuse: rule.reuse,
        cutTransfers: rule['cut-transfers'],
        limits: toServiceLimits({ ...s.limits, ...given(rule.limits) }),
      })),
    },
    sessions: {
      authority: n.authority,
      signInPage: n['sign-in-page'],
      idleTimeoutMs: n['idle-timeout'],
      maxPerUser: n['max-per-user'],
      maxPerOriginator: n['max-per-originator'],
      staleGraceMs: n['stale-grace'],
      xapi: {
        address: x.url.kind === 'unix' ? { kind: 'unix', path: resolve(directory, x.url.path) } : x.url,
        caFile: fileOrNull(x.ca, directory),
        user: x.user,
        passwordFile: fileOrNull(x['password-file'], directory),
        recheckMs: x.recheck,
      },
    },
    pool: {
      name: p.name,
      host: p.host ?? hostname(),
      address: p.address ?? null,
      registry: p.registry,
      static: p.static,
    },
    front:
      input.front === undefined
        ? null
        : {
            upstream: input.front.upstream,
            proxyProtocol: input.front['proxy-protocol'],
            pluginCalls: input.front['plugin-calls'],
          },
    valkey: {
      url: v.url,
      caFile: fileOrNull(v.ca, directory),
      passwordFile: fileOrNull(v['password-file'], directory),
    },
    limits: {
      headBytes: l['head-bytes'],
      targetBytes: l['target-bytes'],
      connections: l.connections,
      share: l.share,
      headTimeoutMs: l['head-timeout'],
      idleTimeoutMs: l['idle-timeout'],
      connectTimeoutMs: l['connect-timeout'],
      responseTimeoutMs: l['response-timeout'],
      bodyIdleTimeoutMs: l['body-idle-timeout'],
      requestMinRate: l['request-min-rate'],
      responseMinRate: l['response-min-rate'],
      drainTimeoutMs: l['drain-timeout'],
    },
    overload: {
      descriptors: input.overload.descriptors,
      memory: input.overload.memory,
      eventLoopDelayMs: input.overload['event-loop-delay'],
    },
    control: {
      metrics: input.control.metrics === undefined ? null : absolute(input.control.metrics, directory),
      dashboard: input.control.dashboard,
      health: input.control.health,
    },
    traces:
      input.traces.endpoint === undefined ? null : { endpoint: input.traces.endpoint, sample: input.traces.sample },
    log: { ...input.log, syslog: resolve(directory, input.log.syslog) },
    host: {
      expectedServices: [...new Set(h['expected-services'])],
      alerts: h.alerts,
      alertAfterMs: h['alert-after'],
      dataSources: h['data-sources'],
      metricsDirectory: resolve(directory, h['metrics-directory']),
    },
  }
}

function toServiceLimits(written: z.output<typeof limitsOfServices>): ServiceLimits {
  return {
    requests: written.requests,
    queue: written.queue,
    queueTimeoutMs: written['queue-timeout'],
    sessionRate: written['session-rate'],
    breakerFailures: written['breaker-failures'],
    breakerPauseMs: written['breaker-pause'],
  }
}

/** What of `table` is not undefined. */
function given<Table extends object>(table: Table): { [Key in keyof Table]?: Exclude<Table[Key], undefined> } {
  return Object.fromEntries(Object.entries(table).filter(([, value]) => value !== undefined)) as {
    [Key in keyof Table]?: Exclude<Table[Key], undefined>
  }
}

/** A socket that any local user may connect to, and one for its owner alone. */
const OPEN_MODE = 0o666
const PRIVATE_MODE = 0o600

function toListen({ address, tls: files, ...rest }: z.output<typeof listen>, directory: string): ListenConfig {
  return {
    address: absolute(address, directory),
    proxyProtocol: rest['proxy-protocol'],
    mode: rest.mode ?? (rest['proxy-protocol'] ? PRIVATE_MODE : OPEN_MODE),
    owner: rest.owner ?? null,
    group: rest.group ?? null,
    tls:
      files === undefined
        ? null
        : { certificate: resolve(directory, files.certificate), key: resolve(directory, files.key) },
  }
}

function fileOrNull(path: string | undefined, directory: string): string | null {
  return path === undefined ? null : resolve(directory, path)
}

function absolute(address: ListenAddress, directory: string): ListenAddress {
  return address.kind === 'unix' ? { kind: 'unix', path: resolve(directory, address.path) } : address
}

function mapValues<In, Out>(table: Readonly<Record<string, In>>, change: (value: In) => Out): Record<string, Out> {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, change(value)]))
}
