import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { sampleConfig } from './documentation.ts'
import { ConfigError, type ConfigProblem, loadConfig } from './load.ts'
import type { Config } from './config.ts'
import { OPEN_POLICY } from '../model/policy.ts'

/** Of a listener, by default. */
const FILE = { mode: 0o666, owner: null, group: null }
const DEFAULTS: Config = {
  stateDir: '/var/lib/xengate',
  workers: 'auto',
  transport: 'auto',
  workerUser: null,
  listen: [{ address: { kind: 'tcp', host: '127.0.0.1', port: 8080 }, proxyProtocol: false, ...FILE, tls: null }],
  hostNames: [],
  services: {
    directories: ['/var/xapi/plugin'],
    methods: ['GET', 'PUT', 'POST'],
    channels: true,
    limits: {
      requests: 0,
      queue: 100,
      queueTimeoutMs: 10_000,
      sessionRate: 0,
      breakerFailures: 20,
      breakerPauseMs: 5000,
    },
    policy: {},
  },
  sessions: {
    authority: 'embedded',
    signInPage: false,
    idleTimeoutMs: 86_400_000,
    maxPerUser: 500,
    maxPerOriginator: 500,
    staleGraceMs: 5000,
    xapi: {
      address: { kind: 'unix', path: '/var/lib/xcp/xapi' },
      caFile: null,
      user: 'root',
      passwordFile: null,
      recheckMs: 2000,
    },
  },
  pool: { name: 'pool', host: hostname(), address: null, registry: 'none', static: {} },
  front: null,
  valkey: {
    url: {
      kind: 'single',
      servers: [{ host: '127.0.0.1', port: 6379 }],
      master: '',
      hasTls: false,
      user: null,
      password: null,
      database: 0,
    },
    caFile: null,
    passwordFile: null,
  },
  limits: {
    headBytes: 16_384,
    targetBytes: 8192,
    connections: 10_000,
    share: 75,
    headTimeoutMs: 10_000,
    idleTimeoutMs: 75_000,
    connectTimeoutMs: 5000,
    responseTimeoutMs: 300_000,
    bodyIdleTimeoutMs: 60_000,
    requestMinRate: 0,
    responseMinRate: 0,
    drainTimeoutMs: 30_000,
  },
  overload: { descriptors: 90, memory: 90, eventLoopDelayMs: 1000 },
  control: { metrics: null, dashboard: true, health: false },
  traces: null,
  log: { level: 'info', access: true, to: 'stdout', audit: false, syslog: '/dev/log' },
  host: {
    expectedServices: [],
    alerts: true,
    alertAfterMs: 20_000,
    dataSources: false,
    metricsDirectory: '/dev/shm/metrics',
  },
}

/** What the test of every option writes. */
const LIMITED: Config['services']['limits'] = {
  requests: 8,
  queue: 0,
  queueTimeoutMs: 1000,
  sessionRate: 100,
  breakerFailures: 3,
  breakerPauseMs: 30_000,
}

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'xengate-config-'))
})
after(() => rm(directory, { recursive: true }))

async function load(text: string): Promise<Config> {
  const path = join(directory, 'xengate.toml')
  await writeFile(path, text)
  return (await loadConfig(path)).config
}

async function problemsOf(text: string): Promise<readonly ConfigProblem[]> {
  const error = await load(text).catch((reason: unknown) => reason)
  assert.ok(error instanceof ConfigError, `refused: ${text}`)
  return error.problems
}

describe('a configuration that can be used', { timeout: 300_000 }, () => {
  test('an empty file has every default', async () => {
    assert.deepEqual(await load(''), DEFAULTS)
  })

  test('the sample file says the defaults', async () => {
    assert.deepEqual(await load(sampleConfig()), DEFAULTS)
  })

  test('every option is read', async () => {
    const config = await load(`
      state-dir = "state"
      worker-user = "daemon"
      workers = 3
      transport = "net"
      host-names = ["host.example", "Localhost", "xen1", "a.lan2"]
      [[listen]]
      address = "[::1]:80"
      proxy-protocol = true
      tls = { certificate = "cert.pem", key = "/etc/key.pem" }
      [[listen]]
      address = "unix:run/xengate.sock"
      mode = "0660"
      owner = "root"
      group = 7
      [[listen]]
      address = "gate.example.com:0"
      [services]
      directories = ["plugin", "/var/lib/xcp/plugin"]
      methods = ["GET", "PATCH"]
      channels = false
      [services.limits]
      requests = 8
      queue = 0
      queue-timeout = "1s"
      session-rate = 100
      breaker-failures = 3
      breaker-pause = "30s"
      [services.policy."com.example.backup"]
      roles = ["pool-admin"]
      strip-session = true
      channels = false
      [services.policy.by-method]
      roles = { GET = ["read-only"], PATCH = ["pool-operator", "vm-admin"] }
      reuse = "always"
      cut-transfers = false
      limits = { requests = 4, breaker-failures = 0 }
      [services.policy.constructor]
      [sessions]
      authority = "xapi"
      sign-in-page = true
      idle-timeout = "90s"
      max-per-user = 1
      max-per-originator = 2
      stale-grace = "100ms"
      [sessions.xapi]
      url = "https://Xapi.example"
      ca = "ca.pem"
      user = "gate"
      password-file = "xapi-password"
      recheck = "500ms"
      [valkey]
      url = "rediss+sentinel://user:p%40ss@a,[fd00::2]:26380/main"
      ca = "valkey.pem"
      password-file = "valkey-password"
      [pool]
      name = "p"
      host = "h"
      address = "https://Host.example:443"
      registry = "static"
      [pool.static]
      "com.example.elsewhere" = "http://[fd00::1]:8080"
      [front]
      upstream = "http://[FD00::1]"
      proxy-protocol = true
      [limits]
      head-bytes = 4096
      target-bytes = 1024
      connections = 7
      share = 50
      head-timeout = "250ms"
      idle-timeout = "1m"
      connect-timeout = "2s"
      response-timeout = "1h"
      body-idle-timeout = "3s"
      request-min-rate = 100
      response-min-rate = 200
      drain-timeout = "0s"
      [overload]
      descriptors = 80
      memory = 70
      event-loop-delay = "250ms"
      [control]
      metrics = "unix:metrics.sock"
      dashboard = false
      health = true
      [traces]
      endpoint = "https://collector.example/v1/traces"
      sample = 0.25

      [log]
      level = "debug"
      access = false
      to = "syslog"
      audit = true
      syslog = "log.sock"
      [host]
      expected-services = ["com.example.backup", "com.example.backup"]
      alerts = false
      alert-after = "1m"
      data-sources = true
      metrics-directory = "metrics"
    `)
    assert.deepEqual(config, {
      stateDir: join(directory, 'state'),
      workers: 3,
      transport: 'net',
      workerUser: 'daemon',
      hostNames: ['host.example', 'localhost', 'xen1', 'a.lan2'],
      listen: [
        {
          address: { kind: 'tcp', host: '::1', port: 80 },
          proxyProtocol: true,
          ...FILE,
          mode: 0o600,
          tls: { certificate: join(directory, 'cert.pem'), key: '/etc/key.pem' },
        },
        {
          address: { kind: 'unix', path: join(directory, 'run/xengate.sock') },
          proxyProtocol: false,
          mode: 0o660,
          owner: 'root',
          group: 7,
          tls: null,
        },
        { address: { kind: 'tcp', host: 'gate.example.com', port: 0 }, proxyProtocol: false, ...FILE, tls: null },
      ],
      services: {
        directories: [join(directory, 'plugin'), '/var/lib/xcp/plugin'],
        methods: ['GET', 'PATCH'],
        channels: false,
        limits: LIMITED,
        policy: {
          'com.example.backup': {
            ...OPEN_POLICY,
            limits: LIMITED,
            roles: ['pool-admin'],
            stripSession: true,
            channels: false,
          },
          'by-method': {
            ...OPEN_POLICY,
            limits: { ...LIMITED, requests: 4, breakerFailures: 0 },
            roles: { GET: ['read-only'], PATCH: ['pool-operator', 'vm-admin'] },
            reuse: 'always',
            cutTransfers: false,
          },
          constructor: { ...OPEN_POLICY, limits: LIMITED },
        },
      },
      sessions: {
        authority: 'xapi',
        signInPage: true,
        idleTimeoutMs: 90_000,
        maxPerUser: 1,
        maxPerOriginator: 2,
        staleGraceMs: 100,
        xapi: {
          address: { kind: 'https', origin: 'https://xapi.example' },
          caFile: join(directory, 'ca.pem'),
          user: 'gate',
          passwordFile: join(directory, 'xapi-password'),
          recheckMs: 500,
        },
      },
      valkey: {
        url: {
          kind: 'sentinel',
          servers: [
            { host: 'a', port: 26_379 },
            { host: 'fd00::2', port: 26_380 },
          ],
          master: 'main',
          hasTls: true,
          user: 'user',
          password: 'p@ss',
          database: 0,
        },
        caFile: join(directory, 'valkey.pem'),
        passwordFile: join(directory, 'valkey-password'),
      },
      front: { upstream: { host: 'fd00::1', port: 80 }, proxyProtocol: true, pluginCalls: false },
      pool: {
        name: 'p',
        host: 'h',
        address: 'https://host.example',
        registry: 'static',
        static: { 'com.example.elsewhere': 'http://[fd00::1]:8080' },
      },
      limits: {
        headBytes: 4096,
        targetBytes: 1024,
        connections: 7,
        share: 50,
        headTimeoutMs: 250,
        idleTimeoutMs: 60_000,
        connectTimeoutMs: 2000,
        responseTimeoutMs: 3_600_000,
        bodyIdleTimeoutMs: 3000,
        requestMinRate: 100,
        responseMinRate: 200,
        drainTimeoutMs: 0,
      },
      overload: { descriptors: 80, memory: 70, eventLoopDelayMs: 250 },
      control: { metrics: { kind: 'unix', path: join(directory, 'metrics.sock') }, dashboard: false, health: true },
      traces: { endpoint: 'https://collector.example/v1/traces', sample: 0.25 },
      log: { level: 'debug', access: false, to: 'syslog', audit: true, syslog: join(directory, 'log.sock') },
      host: {
        expectedServices: ['com.example.backup'],
        alerts: false,
        alertAfterMs: 60_000,
        dataSources: true,
        metricsDirectory: join(directory, 'metrics'),
      },
    })
    assert.deepEqual(JSON.parse(JSON.stringify(config)), structuredClone(config))
  })

  test('a socket path of 107 bytes is taken', async () => {
    const path = `/${'a'.repeat(106)}`
    const { listen } = await load(`[[listen]]\naddress = "unix:${path}"`)
    assert.deepEqual(listen, [{ address: { kind: 'unix', path }, proxyProtocol: false, ...FILE, tls: null }])
  })
})

const XAPI_FRONT = '[sessions]\nauthority = "xapi"\n[front]\nupstream = '

/** A text with one thing wrong, and where and what the answer must be. */
const REFUSED: readonly [text: string, key: string, line: number, message: RegExp][] = [
  ['head-bytes = 1', 'head-bytes', 1, /unknown key `head-bytes`; it belongs in \[limits\]/],
  [
    '[limits]\nhead-byte = 1',
    'limits.head-byte',
    2,
    /unknown key `head-byte` in \[limits\]; did you mean `head-bytes`\?$/,
  ],
  ['[limit]\nhead-bytes = 1024', 'limit', 1, /unknown key `limit`; did you mean `limits`\?$/],
  ['limits.x = 1', 'limits.x', 1, /unknown key `x` in \[limits\]$/],
  ['\n\nworkers = 0', 'workers', 3, /must be at least 1; it is 0$/],
  ['workers = "many"', 'workers', 1, /must be "auto" or a whole number from 1 to 1024; it is "many"$/],
  ['state-dir = ""', 'state-dir', 1, /must be a path/],
  [`state-dir = "/${'a'.repeat(94)}"`, 'state-dir', 1, /may have 94 bytes.* and has 95/],
  ['listen = []', 'listen', 1, /must have at least 1 value/],
  ['listen = [{address = "a:1"}, {address = "b"}]', 'listen[1].address', 1, /must be host:port/],
  ['[listen]\naddress = "a:1"', 'listen', 1, /write \[\[listen\]\] in place of \[listen\]/],
  ['[limits]\nhead-timeout = 10', 'limits.head-timeout', 2, /write "10s" for seconds/],
  ['[sessions]\nidle-timeout = "2d"', 'sessions.idle-timeout', 2, /in hours, that is "48h"/],
  ['[[listen]]\n', 'listen[0].address', 1, /is missing; it must be host:port/],
  ['[[listen]]\naddress = "a:1"\n[[listen]]\naddress = "a:1"', 'listen[1].address', 4, /another listener/],
  ['[[listen]]\naddress = "a:0"\n[[listen]]\naddress = "a:0"', 'listen[1].address', 4, /another listener/],
  ['[[listen]]\naddress = "a:65536"', 'listen[0].address', 2, /must be host:port/],
  ['[[listen]]\naddress = "::1:80"', 'listen[0].address', 2, /\[IPv6 address\]:port/],
  ['[[listen]]\naddress = ":80"', 'listen[0].address', 2, /must be host:port/],
  [`[[listen]]\naddress = "unix:/${'a'.repeat(107)}"`, 'listen[0].address', 2, /may have 107 bytes, .* has 108/],
  ['[[listen]]\naddress="a:1"\ntls = { key = "k" }', 'listen[0].tls.certificate', 3, /certificate` is missing/],
  ['[[listen]]\naddress="a:1"\ntls = true', 'listen[0].tls', 3, /must be a table/],
  [
    '[[listen]]\naddress="unix:/a"\ntls = { certificate = "c", key = "k" }',
    'listen[0].tls',
    3,
    /must not be given for a Unix socket/,
  ],
  ['[[listen]]\naddress="a:1"\nproxy-protocol = 1', 'listen[0].proxy-protocol', 3, /must be true or false/],
  ['[services]\nmethods = ["GET", "CONNECT"]', 'services.methods[1]', 2, /must not be CONNECT or TRACE/],
  ['[services]\nmethods = [\n"GET",\n"TRACE"]', 'services.methods[1]', 4, /must not be CONNECT or TRACE/],
  ['[services]\nmethods = ["get"]', 'services.methods[0]', 2, /upper case; it is "get"/],
  ['[services]\ndirectories = "/x"', 'services.directories', 2, /must be an array/],
  ['[services.policy.".x"]', 'services.policy.".x"', 1, /".x" cannot be the name of a service/],
  ['[services.policy."a.channel"]', 'services.policy."a.channel"', 1, /cannot be the name of a service/],
  ['[services.policy.__proto__]\nroles = ["pool-admin"]', 'services.policy.__proto__', 1, /cannot be a key/],
  ['[services.policy.com.example]\nroles = []', 'services.policy.com.example', 1, /needs quotes: .*"com\.example"\]$/],
  [
    '[services.policy.a]\nroles = ["admin"]',
    'services.policy.a.roles[0]',
    2,
    /must be "pool-admin", .*; it is "admin"$/,
  ],
  ['[services.policy.a]\nroles = []', 'services.policy.a.roles', 2, /must (be an array of roles|have at least 1)/],
  ['[services.policy.a.roles]\nget = ["read-only"]', 'services.policy.a.roles.get', 2, /method in upper case/],
  ['[services.policy.a.roles]\nPATCH = ["read-only"]', 'services.policy.a.roles.PATCH', 2, /one of services\.methods/],
  ['[services.policy.a]\nrole = []', 'services.policy.a.role', 2, /unknown key `role` .*did you mean `roles`\?$/],
  ['[[listen]]\naddress = "unix:/a"\nmode = "0999"', 'listen[0].mode', 3, /must be three octal digits/],
  ['[[listen]]\naddress = "127.0.0.1:1"\nmode = "0600"', 'listen[0].mode', 3, /only a Unix socket has it/],
  ['[sessions]\nauthority = "ldap"', 'sessions.authority', 2, /must be "embedded", .* or "xapi"; it is "ldap"/],
  ['[sessions.xapi]\nurl = "http://a"', 'sessions.xapi.url', 2, /must be unix:\/path or https:/],
  ['[sessions.xapi]\nrecheck = "1ms"', 'sessions.xapi.recheck', 2, /must be between 20ms and 1h/],
  [
    '[sessions]\nauthority = "xapi"\n[sessions.xapi]\nurl = "https://a"',
    'sessions.xapi.password-file',
    3,
    /must be given when xapi is reached over HTTPS/,
  ],
  ['[sessions]\nidle-timeout = 60', 'sessions.idle-timeout', 2, /must be a duration such as .*; it is 60$/],
  ['[sessions]\nidle-timeout = "600h"', 'sessions.idle-timeout', 2, /must be between 1ms and 576h; it is "600h"/],
  ['[sessions]\nmax-per-user = 0', 'sessions.max-per-user', 2, /must be at least 1; it is 0/],
  ['[sessions]\nmax-per-user = 1.5', 'sessions.max-per-user', 2, /must be a whole number; it is 1\.5/],
  [
    '[pool]\naddress = "https://a"\nregistry = "xapi"',
    'pool.registry',
    3,
    /sessions of the authority "embedded" are valid on this host only, .*; use the authority "valkey" or "xapi", or the registry/,
  ],
  [
    '[sessions]\nauthority = "valkey"\n[pool]\nregistry = "valkey"',
    'pool.address',
    3,
    /`pool\.address` is missing; it must be the address where clients reach this host/,
  ],
  ['[pool]\naddress = "https://a/b"', 'pool.address', 2, /without a path/],
  ['[pool.static]\nx = "ftp://a"', 'pool.static.x', 2, /must be http:\/\/host/],
  ['[front]', 'front.upstream', 1, /is missing; it must be http:/],
  ['[front]\nupstream = "https://a"', 'front.upstream', 2, /must be http:.*; it is "https:/],
  [
    '[front]\nupstream = "unix:/var/lib/xcp/xapi"',
    'front.upstream',
    2,
    /xapi treats every connection to its socket as root/,
  ],
  [`${XAPI_FRONT}"http://localhost:8080"`, 'front.upstream', 4, /not the address of a listener here/],
  [`listen = [{ address = "[::]:80" }]\n${XAPI_FRONT}"http://127.0.0.1"`, 'front.upstream', 5, /of a listener here/],
  [`${XAPI_FRONT}"http://a"\nplugin-calls = true`, 'pool.registry', 0, /must be "xapi" with front\.plugin-calls/],
  ['[front]\nupstream = "http://a"', 'sessions.authority', 0, /must be "xapi" with \[front\]/],
  ['[valkey]\nurl = ""', 'valkey.url', 2, /must be redis:/],
  ['[valkey]\nurl = "redis://u:secret@a,b"', 'valkey.url', 2, /it is "redis:\/\/…@a,b"$/],
  ['[valkey]\nurl = "redis+sentinel://a"', 'valkey.url', 2, /redis\+sentinel:/],
  ['[valkey]\nurl = "redis+cluster://a/1"', 'valkey.url', 2, /redis\+cluster:/],
  ['host-names = ["xen:80"]', 'host-names[0]', 1, /must be a host name without a port, .*; it is "xen:80"/],
  [
    'host-names = ["a"]\n[pool]\naddress = "https://b"',
    'host-names',
    1,
    /must have the name in pool.address, which is b/,
  ],
  ['host-names = ["10.0.0.1"]', 'host-names[0]', 1, /addresses need not be listed; it is "10.0.0.1"/],
  ['[watching]\nmetrics = ""', 'watching', 1, /^unknown key `watching`$/],
  [
    '[control]\nmetrics = ""',
    'control.metrics',
    2,
    /must be host:port, \[IPv6 address\]:port or unix:\/path; it is ""/,
  ],
  ['[control]\nmetrics = "127.0.0.1:8080"', 'control.metrics', 2, /must not be the address of a listener/],
  ['[control]\nhealth = 1', 'control.health', 2, /must be true or false; it is 1/],
  ['[traces]\nendpoint = "http://127.0.0.1:4318"', 'traces.endpoint', 2, /must be http:.*\/v1\/traces/],
  ['[traces]\nendpoint = "http://u:secret@h/v1/traces"', 'traces.endpoint', 2, /^(?!.*secret).*without a password/],
  ['[traces]\nsample = 2', 'traces.sample', 2, /at most 1/],
  ['[limits]\nhead-timeout = "0s"', 'limits.head-timeout', 2, /must be between 1ms and 24h; it is "0s"/],
  ['[limits]\nhead-bytes = 2000000', 'limits.head-bytes', 2, /must be at most 1048576; it is 2000000/],
  ['[log]\nlevel = "loud"', 'log.level', 2, /must be "trace", .* or "error"; it is "loud"/],
  ['[log]\naccess = "yes"', 'log.access', 2, /must be true or false; it is "yes"/],
  ['a = [1\nb = 2', '', 2, /not TOML/],
]

describe('a configuration that is refused', { timeout: 300_000 }, () => {
  for (const [text, key, line, message] of REFUSED) {
    test(JSON.stringify(text).slice(0, 60), async () => {
      const problems = await problemsOf(text)
      assert.deepEqual(
        problems.map((problem) => [problem.key, problem.line]),
        [[key, line]],
      )
      assert.match(String(problems[0]?.message), message)
    })
  }

  test('everything that is wrong is said at once, in the order of the file', async () => {
    const problems = await problemsOf('x = 1\n[log]\nlevel = 1\n[limits]\nconnections = 0\ny = 2')
    assert.deepEqual(
      problems.map(({ key, line }) => `${line} ${key}`),
      ['1 x', '3 log.level', '5 limits.connections', '6 limits.y'],
    )
  })

  test('the message of the error has file, line and text', async () => {
    const path = join(directory, 'xengate.toml')
    await assert.rejects(load('\nx = 1'), { name: 'ConfigError', message: `${path}:2: unknown key \`x\`` })
  })

  test('a file that is not there is a problem of the whole file', async () => {
    const error: unknown = await loadConfig(join(directory, 'none.toml')).catch((reason: unknown) => reason)
    assert.ok(error instanceof ConfigError)
    assert.deepEqual(error.problems, [
      { key: '', line: 0, message: 'cannot read the configuration: there is no such file' },
    ])
  })
})
