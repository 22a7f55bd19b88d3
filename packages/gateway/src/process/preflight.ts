// What a configuration names on this host: whether it is there, and whether it is as the operator will have meant it. What would
// keep the daemon from starting is a refusal; the rest is a doubt, with which it starts.

import { X509Certificate } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { accessSync, constants, existsSync, lstatSync, readFileSync, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isLoopback, type ListenAddress } from '../config/addresses.ts'
import type { KeyPath } from '../config/locate.ts'
import { formatKey, type Problem } from '../config/problems.ts'
import type { Config, ListenConfig } from '../config/config.ts'
import { databasePath, checkDatabase } from '../sessions/embedded/database.ts'
import { accountOf, idOf } from './account.ts'
import { connectionsWithin, descriptorLimit } from './descriptors.ts'
import { readTlsPair, type TlsFiles } from './tls-files.ts'

/** What was found, by key of the configuration. */
export interface Findings {
  readonly refusals: readonly Problem[]
  readonly doubts: readonly Problem[]
}

/** A certificate that ends so soon is a doubt. */
const CERTIFICATE_DAYS_MIN = 14
const DAY_MS = 86_400_000

const METRICS: KeyPath = ['control', 'metrics']

/** Looks at what `config` names. It changes nothing, and opens no port. */
export async function inspect(config: Config): Promise<Findings> {
  const listeners = config.listen.map((listen, index) => ({ listen, path: ['listen', index] }))
  const { metrics } = config.control
  const hosts = await Promise.all([
    ...listeners.map(({ listen, path }) => hostRefusals(listen.address, [...path, 'address'])),
    ...(metrics === null ? [] : [hostRefusals(metrics, METRICS)]),
  ])
  return {
    refusals: [
      ...stateRefusals(config),
      ...workerUserRefusals(config),
      ...hosts.flat(),
      ...listeners.flatMap(({ listen, path }) => listenRefusals(listen, path)),
      ...(metrics?.kind === 'unix' ? socketRefusals(metrics.path, METRICS) : []),
      ...fileRefusals(config),
    ],
    doubts: [
      ...listeners.flatMap(({ listen, path }) => listenDoubts(listen, path)),
      ...metricsDoubts(metrics),
      ...directoryDoubts(config),
      ...userDoubts(config),
    ],
  }
}

/** Whether a daemon with this process's limit of open files could have as many connections as it is to have. */
export function descriptorDoubts({ limits: { connections } }: Config): Problem[] {
  const limit = descriptorLimit()
  const possible = connectionsWithin(limit)
  if (connections <= possible) return []
  const why = `${limit} open files, the limit here, are enough for ${possible} in each worker`
  return [doubt(['limits', 'connections'], `is ${connections}, and ${why}; raise the limit (LimitNOFILE in systemd)`)]
}

/** "`key` clause". */
function doubt(path: KeyPath, clause: string): Problem {
  return { path, message: `\`${formatKey(path)}\` ${clause}` }
}

/** What `use` throws, as a problem of the key at `path`. */
function refusalOf(path: KeyPath, use: () => unknown): Problem[] {
  try {
    use()
    return []
  } catch (error) {
    return [{ path, message: `\`${formatKey(path)}\`: ${error instanceof Error ? error.message : String(error)}` }]
  }
}

function stateRefusals({ stateDir, sessions: { authority } }: Config): Problem[] {
  const path = ['state-dir']
  // Where it is not there yet, it is made in the nearest directory above it that is.
  let there = stateDir
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there)
  if (!isDirectory(there)) return [doubt(path, `must be a directory; ${there} is a file`)]
  try {
    accessSync(there, constants.W_OK | constants.X_OK)
  } catch {
    return [doubt(path, `cannot be used by this user, who may not write to ${there}`)]
  }
  return authority === 'embedded' ? refusalOf(path, () => checkDatabase(databasePath(stateDir))) : []
}

function workerUserRefusals({ workerUser }: Config): Problem[] {
  if (workerUser === null) return []
  const path = ['worker-user']
  if (process.geteuid?.() !== 0)
    return [doubt(path, 'takes a daemon that is started as root: leave it out, or start it so')]
  return refusalOf(path, () => accountOf(workerUser))
}

async function hostRefusals(address: ListenAddress, key: KeyPath): Promise<Problem[]> {
  if (address.kind !== 'tcp') return []
  try {
    const { address: found } = await lookup(address.host)
    return isOwnAddress(found) ? [] : [doubt(key, `is an address that this machine does not have: ${found}`)]
  } catch {
    return [doubt(key, `names a host that is not known: ${address.host}`)]
  }
}

/** Whether a socket can be bound to `address`: one of this machine's, any of the loopback's, or the one that stands for all. */
function isOwnAddress(address: string): boolean {
  if (address === '0.0.0.0' || address === '::' || isLoopback(address)) return true
  return Object.values(networkInterfaces()).some((all) => all?.some((one) => one.address === address))
}

function listenRefusals({ address, owner, group, tls }: ListenConfig, path: KeyPath): Problem[] {
  const problems = tls === null ? [] : refusalOf([...path, 'tls'], () => readTlsPair(tls))
  if (address.kind === 'tcp') return problems
  return [
    ...problems,
    ...socketRefusals(address.path, [...path, 'address']),
    ...refusalOf([...path, 'owner'], () => owner === null || idOf(owner, '/etc/passwd')),
    ...refusalOf([...path, 'group'], () => group === null || idOf(group, '/etc/group')),
  ]
}

function socketRefusals(socket: string, path: KeyPath): Problem[] {
  const directory = dirname(socket)
  if (!isDirectory(directory)) {
    return isMadeAtStart(directory) ? [] : [doubt(path, `needs a directory that is not there: ${directory}`)]
  }
  const found = lstatSync(socket, { throwIfNoEntry: false })
  if (found === undefined || found.isSocket()) return []
  return [doubt(path, `must be free for a socket: a file that is no socket is there: ${socket}`)]
}

/** Whether systemd may make the directory when the service starts, and remove it when it stops (RuntimeDirectory). */
function isMadeAtStart(directory: string): boolean {
  return dirname(directory) === '/run'
}

/** Files of the authority and the registry that are in force. */
function fileRefusals({ sessions, pool, valkey }: Config): Problem[] {
  const used = new Set<string>([sessions.authority, pool.registry])
  const files: [KeyPath, string | null][] = []
  if (used.has('valkey')) {
    files.push([['valkey', 'password-file'], valkey.passwordFile], [['valkey', 'ca'], valkey.caFile])
  }
  if (used.has('xapi')) {
    const { passwordFile, caFile } = sessions.xapi
    files.push([['sessions', 'xapi', 'password-file'], passwordFile], [['sessions', 'xapi', 'ca'], caFile])
  }
  return files.flatMap(([path, file]) => (file === null ? [] : refusalOf(path, () => readUseful(path, file))))
}

/** @throws when the file cannot be read, or cannot be what it is for */
function readUseful(path: KeyPath, file: string): void {
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    throw new Error(`cannot read ${file}: ${code}`, { cause })
  }
  if (bytes.toString().trim() === '') throw new Error(`${file} is empty`)
  if (path.at(-1) !== 'ca') return
  try {
    void new X509Certificate(bytes)
  } catch (cause) {
    throw new Error(`${file} holds no certificate in PEM`, { cause })
  }
}

function listenDoubts({ address, tls, proxyProtocol }: ListenConfig, path: KeyPath): Problem[] {
  if (tls !== null) return certificateDoubts(tls, [...path, 'tls'])
  if (address.kind === 'unix') return runtimeDoubts(dirname(address.path), [...path, 'address'])
  if (isLoopback(address.host) || proxyProtocol) return []
  const why = 'is not loopback and has no tls: session ids and passwords pass there in the clear'
  return [doubt([...path, 'address'], `${why}; give it tls, or listen on 127.0.0.1 behind a TLS proxy`)]
}

function runtimeDoubts(directory: string, path: KeyPath): Problem[] {
  if (isDirectory(directory) || !isMadeAtStart(directory)) return []
  const when = 'the daemon starts where its service makes it (RuntimeDirectory in systemd)'
  return [doubt(path, `needs a directory that is not there now: ${directory}; ${when}`)]
}

function metricsDoubts(metrics: ListenAddress | null): Problem[] {
  if (metrics === null || metrics.kind === 'unix' || isLoopback(metrics.host)) return []
  return [doubt(METRICS, 'is not loopback: whoever reaches it reads names of services, and how much they are used')]
}

function certificateDoubts({ certificate }: TlsFiles, path: KeyPath): Problem[] {
  const { validFromDate, validToDate } = certificateIn(certificate) ?? {}
  if (validFromDate === undefined || validToDate === undefined) return []
  const [nowMs, endMs] = [Date.now(), validToDate.getTime()]
  const day = new Date(endMs).toISOString().slice(0, 10)
  if (endMs <= nowMs) return [doubt(path, `has a certificate that expired on ${day}: ${certificate}`)]
  if (validFromDate.getTime() > nowMs) return [doubt(path, `has a certificate that is not valid yet: ${certificate}`)]
  if (endMs - nowMs > CERTIFICATE_DAYS_MIN * DAY_MS) return []
  return [doubt(path, `has a certificate that expires on ${day}: ${certificate}`)]
}

function certificateIn(path: string): X509Certificate | undefined {
  try {
    return new X509Certificate(readFileSync(path))
  } catch {
    return undefined
  }
}

function directoryDoubts({ services: { directories } }: Config): Problem[] {
  return directories.flatMap((directory, index) => {
    const path = ['services', 'directories', index]
    if (!existsSync(directory)) return [doubt(path, `is not there: ${directory}; until it is, nothing is found in it`)]
    return isDirectory(directory) ? [] : [doubt(path, `is no directory: ${directory}`)]
  })
}

/** Users in Valkey are not looked for: that would need a connection. */
function userDoubts({ stateDir, sessions: { authority } }: Config): Problem[] {
  const database = databasePath(stateDir)
  if (authority !== 'embedded' || !mayReadDirectory(stateDir) || hasUsers(database)) return []
  return [doubt(['state-dir'], `has no users yet: ${stateDir}; add one with xengate user add`)]
}

/** Whether there are users, or nobody can tell. */
function hasUsers(database: string): boolean {
  if (!existsSync(database)) return false
  try {
    const db = new DatabaseSync(database, { readOnly: true })
    try {
      return db.prepare('SELECT 1 FROM users LIMIT 1').get() !== undefined
    } finally {
      db.close()
    }
  } catch {
    return true
  }
}

/** Whether it can be seen what is in a directory; one that is not there has nothing in it. */
function mayReadDirectory(path: string): boolean {
  if (!existsSync(path)) return true
  try {
    accessSync(path, constants.R_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}
