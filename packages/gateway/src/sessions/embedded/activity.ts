// Writes which sessions were active, without ever waiting.

import type { DatabaseSync } from 'node:sqlite'

import { isBusy } from './database.ts'
import type { SessionRows } from './session-rows.ts'

/** Notes activity and writes it when the database is free. */
export class ActivityWriter {
  readonly #db: DatabaseSync
  readonly #rows: SessionRows
  /** Activity that could not be written yet, because another process was writing. */
  readonly #noted = new Set<string>()

  constructor(db: DatabaseSync, rows: SessionRows) {
    this.#db = db
    this.#rows = rows
  }

  note(uuids: readonly string[]): void {
    for (const uuid of uuids) this.#noted.add(uuid)
  }

  /** Forgets sessions that ended. */
  forget(uuids: readonly string[]): void {
    for (const uuid of uuids) this.#noted.delete(uuid)
  }

  /**
   * Writes what is noted in one transaction, for sessions that were active after `aliveAfterMs`. It waits for nothing:
   * not for another process, since it can be written later, and not for the disk, since it need not survive a power cut.
   *
   * @throws what SQLite throws, but for being busy; the notes are then gone, for they would fail again and again.
   */
  write(nowMs: number, aliveAfterMs: number): void {
    if (this.#noted.size === 0) return
    this.#db.exec('PRAGMA synchronous = NORMAL')
    try {
      this.#rows.touch([...this.#noted], nowMs, aliveAfterMs)
      this.#noted.clear()
    } catch (error) {
      if (isBusy(error)) return
      this.#noted.clear()
      throw error
    } finally {
      this.#db.exec('PRAGMA synchronous = FULL')
    }
  }
}
