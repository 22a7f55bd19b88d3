// The configuration, kept in the pool's record in xapi: an upgrade of the host by ISO removes /etc, and keeps that record.

import { existsSync, mkdirSync, renameSync, rmSync, chmodSync, chownSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { type LoadedConfig, loadConfig } from '../config/load.ts'
import type { Config } from '../config/config.ts'
import { BLANKED, shownConfig } from '../config/shown.ts'
import { idOf } from '../process/account.ts'
import { type Host, WORKER_USER } from './host.ts'
import { readKeys } from './inventory.ts'
import { type PoolRecord, spareOf } from './pool-record.ts'

/** The configuration cannot be kept, or cannot be had back. */
export class SavedConfigError extends Error {
  override readonly name = 'SavedConfigError'
  readonly code:
    | 'config-secret'
    | 'config-large'
    | 'save-failed'
    | 'saved-missing'
    | 'saved-unreadable'
    | 'config-there'
    | 'host-unknown'

  constructor(code: SavedConfigError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** For all hosts of the pool; that of one host has `-<its uuid>` behind it, and goes before. */
const KEY = 'xengate-config'
/** What is in this record is held in memory by every host of the pool. */
const VALUE_CHARACTERS_MAX = 16_384
const TEXT_BYTES_MAX = 1_048_576

/** What was kept. */
export interface Saved {
  readonly key: string
  /** Files that the configuration names and that are not kept. */
  readonly without: readonly string[]
}

/** A configuration that is to be kept. */
export interface Saving {
  readonly path: string
  /** What is in the file. */
  readonly loaded: LoadedConfig
  /** For all hosts of the pool, and not for this one alone. */
  readonly isForPool: boolean
}

/** Keeps what the file says, without comments: these may hold secrets of any form. @throws {SavedConfigError} */
export async function saveConfig(host: Host, { path, loaded, isForPool }: Saving, pool: PoolRecord): Promise<Saved> {
  const text = shownConfig(loaded.input)
  if (text.includes(BLANKED)) {
    const instead = 'put it into a file that valkey.password-file names, and save again'
    throw new SavedConfigError(
      'config-secret',
      `${path} has a URL with a password, which is not kept in the pool: ${instead}`,
    )
  }
  const value = gzipSync(text).toString('base64url')
  if (value.length > VALUE_CHARACTERS_MAX) {
    const sizes = `it has ${value.length} characters when compressed, and may have ${VALUE_CHARACTERS_MAX}`
    throw new SavedConfigError('config-large', `${path} is too large for the pool's record: ${sizes}`)
  }
  const key = isForPool ? KEY : hostKey(host)
  await put(pool, key, value)
  return { key, without: filesOf(loaded.config) }
}

async function put(pool: PoolRecord, key: string, value: string): Promise<void> {
  try {
    if ((await pool.get(key)) !== value) await pool.set(key, value)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const now = 'the pool has what was kept before, or what is new'
    throw new SavedConfigError('save-failed', `xapi did not take all of it: ${why}; ${now}`, { cause })
  }
}

/** What was put back. */
export interface Restored {
  readonly key: string
  /** Files that the configuration names and that are not there. */
  readonly missing: readonly string[]
}

/**
 * Writes the file at `path` as it was kept; nothing is written that is not valid.
 *
 * @param isForced over a file that is there
 * @throws {SavedConfigError} @throws {ConfigError} when what was kept is not valid for this version
 */
export async function restoreConfig(host: Host, path: string, isForced: boolean, pool: PoolRecord): Promise<Restored> {
  if (existsSync(path) && !isForced) throw new SavedConfigError('config-there', `${path} is there already`)
  const { key, text } = await saved(host, pool)
  mkdirSync(dirname(path), { recursive: true, mode: 0o750 })
  const beside = join(dirname(path), `.${basename(path)}.restored`)
  rmSync(beside, { force: true })
  try {
    writeFileSync(beside, text, { mode: 0o640, flag: 'wx' })
    const { config } = await loadConfig(beside)
    chmodSync(beside, 0o640)
    giveToGroup(beside)
    renameSync(beside, path)
    return { key, missing: filesOf(config).filter((file) => !existsSync(file)) }
  } finally {
    rmSync(beside, { force: true })
  }
}

/** The text that is kept for this host, or else for the pool. */
async function saved(host: Host, pool: PoolRecord): Promise<{ readonly key: string; readonly text: Buffer }> {
  for (const key of [hostKey(host), KEY].flatMap((one) => [one, spareOf(one)])) {
    const value = await pool.get(key)
    if (value === null) continue
    try {
      return { key, text: gunzipSync(Buffer.from(value, 'base64url'), { maxOutputLength: TEXT_BYTES_MAX }) }
    } catch (cause) {
      throw new SavedConfigError('saved-unreadable', `what the pool has as ${key} is no configuration`, { cause })
    }
  }
  throw new SavedConfigError('saved-missing', `the pool has neither ${hostKey(host)} nor ${KEY}`)
}

function hostKey({ inventory }: Host): string {
  const uuid = readKeys(inventory).get('INSTALLATION_UUID')
  if (uuid === undefined) throw new SavedConfigError('host-unknown', `${inventory} does not say this host's uuid`)
  return `${KEY}-${uuid}`
}

function filesOf({ listen, sessions: { xapi }, valkey }: Config): string[] {
  const tls = listen.flatMap((one) => (one.tls === null ? [] : [one.tls.certificate, one.tls.key]))
  const files = [...tls, xapi.caFile, xapi.passwordFile, valkey.caFile, valkey.passwordFile]
  return [...new Set(files.filter((file) => file !== null))]
}

/** The daemon's own user reads it. Where there is no such user, it stays with this one's group. */
function giveToGroup(path: string): void {
  try {
    chownSync(path, -1, idOf(WORKER_USER, '/etc/group'))
  } catch {
    // Without root, or before the package made the user.
  }
}
