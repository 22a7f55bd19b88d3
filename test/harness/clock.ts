// A clock that jumps: programs that are started with it see the system's clock moved, while what they measure time by goes on as it does.

import { globSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isAlive } from './child.ts'
import type { Scope } from './scope.ts'

/** What the library leaves behind when its process is killed, by the process's id: the next one of that id would stumble over it. */
const LEFT = '/dev/shm/*faketime_*'
const LIBRARY = '/usr/lib/*/faketime/libfaketimeMT.so.1'

export class MovedClock {
  /** Runs what follows it with this clock. */
  readonly within: readonly string[]
  readonly #path: string

  private constructor(path: string, library: string) {
    this.#path = path
    this.within = [
      'env',
      `LD_PRELOAD=${library}`,
      `FAKETIME_TIMESTAMP_FILE=${path}`,
      // All processes see a jump at once, as they would see a real one.
      'FAKETIME_NO_CACHE=1',
      'FAKETIME_DONT_FAKE_MONOTONIC=1',
      'NO_FAKE_STAT=1',
    ]
    this.move(0)
  }

  /** A clock that is right. @throws where Debian's package libfaketime is not there */
  static async make(scope: Scope): Promise<MovedClock> {
    const [library] = globSync(LIBRARY)
    if (library === undefined) throw new Error(`nothing is at ${LIBRARY}: install libfaketime`)
    removeLeft()
    scope.defer(removeLeft)
    return new MovedClock(join(await scope.directory(), 'clock'), library)
  }

  /** Has it be so many seconds before what it should be, or behind it. */
  move(seconds: number): void {
    // One that is read half written would be another jump.
    writeFileSync(`${this.#path}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`)
    renameSync(`${this.#path}.new`, this.#path)
  }
}

function removeLeft(): void {
  for (const path of globSync(LEFT)) {
    const pid = Number(/_(\d+)$/.exec(path)?.[1])
    if (!isAlive(pid)) rmSync(path, { force: true })
  }
}
