// xengate host: what this host is and what is in the way, its firewall, and the configuration over an upgrade by ISO.

import type { Config } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import { checkHost } from '../../dom0/check.ts'
import { findingLines } from '../../dom0/findings.ts'
import { type Host, hostAt } from '../../dom0/host.ts'
import { localXapi, openPoolRecord, type PoolRecord } from '../../dom0/pool-record.ts'
import { closePort, openedPorts, openPort } from '../../dom0/ports.ts'
import { restoreConfig, saveConfig } from '../../dom0/saved-config.ts'
import { configPath } from '../checked-config.ts'
import { CliError, EXIT, reportFailure, requireRoot } from '../errors.ts'
import { type Io, print, say } from '../io.ts'

export interface CheckOptions {
  readonly config?: string
  readonly json?: boolean
}

export async function check({ config, json }: CheckOptions, io: Io, host: Host = hostAt('')): Promise<number> {
  const findings = await checkHost(host, config ?? io.defaultConfig, io.env)
  const isWell = findings.every(({ verdict }) => verdict !== 'bad')
  if (json === true) print(io, JSON.stringify({ ok: isWell, findings }, null, 2))
  else for (const line of findingLines(findings)) print(io, line)
  return isWell ? EXIT.ok : EXIT.failed
}

export async function open(port: number, io: Io, host: Host = hostAt('')): Promise<number> {
  requireRoot(host.root)
  const isOurs = await openPort(host, port, io.env)
  const done = `port ${port} is open in the firewall of this host, now and after a restart`
  say(io, isOurs ? done : `port ${port} was open before, and not by xengate: nothing was changed`)
  return EXIT.ok
}

/** @param port null for all that were opened here: one that cannot be closed does not keep the others open */
export async function close(port: number | null, io: Io, host: Host = hostAt('')): Promise<number> {
  requireRoot(host.root)
  const ports = port === null ? openedPorts(host).map((one) => one.port) : [port]
  let code: number = EXIT.ok
  for (const one of ports) {
    try {
      await closePort(host, one, io.env)
      say(io, `port ${one} is closed again`)
    } catch (error) {
      code = reportFailure(error, io)
    }
  }
  if (ports.length === 0) say(io, 'no port was opened by xengate: nothing to do')
  return code
}

export interface SaveOptions {
  readonly config?: string
  readonly pool?: boolean
}

export async function save({ config, pool = false }: SaveOptions, io: Io, host: Host = hostAt('')): Promise<number> {
  requireRoot(host.root)
  const path = configPath(config, io)
  const loaded = await loadConfig(path)
  const { key, without } = await withPool(host, loaded.config, io, (record) =>
    saveConfig(host, { path, loaded, isForPool: pool }, record),
  )
  say(io, `kept ${path} in the pool, as ${key} of pool.other_config, without its comments`)
  for (const file of without) say(io, `not kept: ${file}`)
  return EXIT.ok
}

export interface RestoreOptions {
  readonly config?: string
  readonly force?: boolean
}

export async function restore(options: RestoreOptions, io: Io, host: Host = hostAt('')): Promise<number> {
  requireRoot(host.root)
  const path = options.config ?? io.defaultConfig
  const isForced = options.force ?? false
  const { key, missing } = await withPool(host, null, io, (record) => restoreConfig(host, path, isForced, record))
  say(io, `wrote ${path} as the pool has it in ${key}`)
  for (const file of missing) say(io, `missing: ${file}, which the configuration names; put it there yourself`)
  return EXIT.ok
}

/** @param config where xapi is; null for this host's */
async function withPool<Result>(
  host: Host,
  config: Config | null,
  io: Io,
  work: (pool: PoolRecord) => Promise<Result>,
): Promise<Result> {
  const settings = config?.sessions.authority === 'xapi' ? config.sessions.xapi : localXapi(host)
  let pool: PoolRecord
  try {
    pool = await openPoolRecord(settings, io.env)
  } catch (cause) {
    throw new CliError('xapi-unavailable', cause instanceof Error ? cause.message : String(cause), { cause })
  }
  try {
    return await work(pool)
  } finally {
    await pool.close()
  }
}
