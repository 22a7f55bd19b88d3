// What this host is, and what is in the way of a gateway on it.

import { cpus, freemem, release, totalmem } from 'node:os'
import { existsSync, readFileSync, statfsSync } from 'node:fs'
import { isLoopback } from '../config/addresses.ts'
import { ConfigError, type LoadedConfig, loadConfig } from '../config/load.ts'
import type { Config } from '../config/config.ts'
import { inspect } from '../process/preflight.ts'
import { directoryFindings } from './access.ts'
import { bad, doubt, type Finding, ok } from './findings.ts'
import { doubtOfForm, installed, OWN_PORT } from './front-state.ts'
import { type Host, WORKER_USER } from './host.ts'
import { readKeys } from './inventory.ts'
import { localXapi, openPoolRecord } from './pool-record.ts'
import { openedPorts } from './ports.ts'
import { runProgram } from './programs.ts'

type Env = Readonly<NodeJS.ProcessEnv>

/** What Node.js needs. */
const KERNEL_MIN = [4, 18] as const
const MIB = 1_048_576
/** The gateway takes 45 MB when idle, and more with many connections. */
const MEMORY_MIB_MIN = 256
const DISK_MIB_MIN = 200

/** Looks at everything, and changes nothing. @param path of the configuration, which need not be there */
export async function checkHost(host: Host, path: string, env: Env): Promise<Finding[]> {
  const { config, findings } = await configured(path)
  const directories = config?.services.directories ?? [host.pluginDirectory]
  const user = config?.workerUser ?? WORKER_USER
  const access = await Promise.all(directories.map((directory) => directoryFindings(directory, user, env)))
  return [
    hostFinding(host),
    kernelFinding(),
    memoryFinding(),
    ...diskFindings([config?.stateDir ?? '/var/lib', '/var/log']),
    await clockFinding(env),
    await xapiFinding(host, config, env),
    ...findings,
    ...access.flat(),
    ...(config === null ? [] : portFindings(host, config)),
    await stunnelFinding(host, env),
  ]
}

function hostFinding({ osRelease, inventory }: Host): Finding {
  const keys = readKeys(inventory)
  const system = readKeys(osRelease).get('PRETTY_NAME') ?? 'an unknown system'
  if (keys.size === 0) return doubt('host', `${system}: no XenServer or XCP-ng (there is no ${inventory})`)
  const [brand, version] = [keys.get('PRODUCT_BRAND'), keys.get('PRODUCT_VERSION')]
  const product = [brand ?? 'Xen', version].filter((part) => part !== undefined).join(' ')
  return ok('host', `${product} (${system}), ${keys.get('INSTALLATION_UUID') ?? 'without a uuid'}`)
}

function kernelFinding(): Finding {
  const version = release()
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const isNew = major > KERNEL_MIN[0] || (major === KERNEL_MIN[0] && minor >= KERNEL_MIN[1])
  return isNew
    ? ok('kernel', version)
    : bad('kernel', `${version}; Node.js needs ${KERNEL_MIN.join('.')}`, 'update the host')
}

function memoryFinding(): Finding {
  const [free, all] = [freemem(), totalmem()].map((bytes) => Math.floor(bytes / MIB))
  const text = `${free} of ${all} MiB free, ${cpus().length} CPUs`
  if ((free ?? 0) >= MEMORY_MIB_MIN) return ok('memory', text)
  return doubt(
    'memory',
    text,
    'give dom0 more: /opt/xensource/libexec/xen-cmdline --set-xen dom0_mem=…, and restart the host',
  )
}

function diskFindings(paths: readonly string[]): Finding[] {
  return paths.filter(existsSync).map((path) => {
    const { bavail, bsize } = statfsSync(path)
    const free = Math.floor((bavail * bsize) / MIB)
    const text = `${free} MiB free at ${path}`
    return free >= DISK_MIB_MIN ? ok('disk', text) : doubt('disk', text, `see what is large: du -xsh ${path}/*`)
  })
}

/** Sessions and logs are of many hosts, and certificates end: a clock that runs by itself goes wrong. */
async function clockFinding(env: Env): Promise<Finding> {
  const now = new Date().toISOString().slice(0, 19).replace('T', ' ')
  const ran = await runProgram('timedatectl', [], { env: { ...env, LC_ALL: 'C' }, timeoutMs: 10_000 })
  const isSynchronized = /synchronized: (yes|no)/.exec(ran.stdout)?.[1]
  if (isSynchronized === 'yes') return ok('clock', `${now} UTC, synchronized`)
  const remedy = 'systemctl status chronyd; timedatectl'
  if (isSynchronized === 'no') return doubt('clock', `${now} UTC, not synchronized`, remedy)
  return doubt('clock', `${now} UTC; timedatectl does not say whether it is synchronized`, remedy)
}

async function xapiFinding(host: Host, config: Config | null, env: Env): Promise<Finding> {
  const isNeeded = config?.sessions.authority === 'xapi' || config?.pool.registry === 'xapi'
  const settings = isNeeded ? config.sessions.xapi : localXapi(host)
  const where = settings.address.kind === 'unix' ? settings.address.path : settings.address.origin
  if (!isNeeded && !existsSync(host.xapiSocket)) return doubt('xapi', `is not asked: there is no ${where}`)
  const beganMs = performance.now()
  try {
    const pool = await openPoolRecord(settings, env)
    try {
      const ha = (await pool.hasHa()) ? 'HA is on' : 'HA is off'
      return ok('xapi', `answers at ${where} in ${Math.ceil(performance.now() - beganMs)} ms; ${ha}`)
    } finally {
      await pool.close()
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return (isNeeded ? bad : doubt)('xapi', `does not answer at ${where}: ${why}`, 'systemctl status xapi')
  }
}

/** The configuration, and what is to be said of it; null when it cannot be used. */
async function configured(path: string): Promise<{ readonly config: Config | null; readonly findings: Finding[] }> {
  const subject = 'configuration'
  if (!existsSync(path)) {
    return { config: null, findings: [doubt(subject, `there is no ${path}`, `xengate host restore, or write one`)] }
  }
  let loaded: LoadedConfig
  try {
    loaded = await loadConfig(path)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const at = error.problems.map(({ line, message }) => bad(subject, `line ${line}: ${message}`, `edit ${path}`))
    return { config: null, findings: at }
  }
  const { refusals, doubts } = await inspect(loaded.config)
  // Their directories are looked at more closely.
  const others = doubts.filter(({ path: [table] }) => table !== 'services')
  const [refused, doubted] = [loaded.located(refusals), loaded.located(others)]
  const findings = [
    ...refused.map(({ line, message }) => bad(subject, `line ${line}: ${message}`, `edit ${path}`)),
    ...doubted.map(({ line, message }) => doubt(subject, `line ${line}: ${message}`)),
  ]
  return { config: loaded.config, findings: findings.length > 0 ? findings : [ok(subject, `${path} is valid`)] }
}

/** Ports beside xapi's: whether another program has them, and whether the host's firewall lets clients in. */
function portFindings(host: Host, { listen }: Config): Finding[] {
  const opened = new Set(openedPorts(host).map(({ port }) => port))
  const listening = listeningPorts()
  return listen.flatMap(({ address }) => {
    if (address.kind !== 'tcp' || address.port === 0) return []
    const { port } = address
    const subject = `port ${port}`
    const now = listening.has(port) ? 'a program listens there' : 'nobody listens there'
    if (isLoopback(address.host) || opened.has(port)) return [ok(subject, now)]
    const text = `${now}; xengate did not open it in the firewall of the host`
    return [doubt(subject, text, `xengate host open-port ${port}`)]
  })
}

/** State of a socket that listens, in the system's tables. */
const LISTENS = '0A'

function listeningPorts(): Set<number> {
  const ports = new Set<number>()
  for (const path of ['/proc/net/tcp', '/proc/net/tcp6']) {
    if (!existsSync(path)) continue
    // sl local_address rem_address st …
    for (const line of readFileSync(path, 'utf8').split('\n').slice(1)) {
      const [, local = '', , state] = line.trim().split(/\s+/)
      if (state === LISTENS) ports.add(Number.parseInt(local.split(':')[1] ?? '', 16))
    }
  }
  return ports
}

async function stunnelFinding(host: Host, env: Env): Promise<Finding> {
  const reason = await doubtOfForm(host, env)
  const isOn = installed(host) !== 'none'
  if (reason === null) return ok('stunnel', `the front is ${isOn ? 'on' : 'off, and can be switched on'}`)
  const text = `the front ${isOn ? 'is on without effect' : 'is not possible'}: in ${host.stunnelOwn}, ${reason}`
  return (isOn ? bad : doubt)('stunnel', text, OWN_PORT)
}
