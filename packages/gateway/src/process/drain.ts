// Takes the gateway out of service, and back: `xengate drain`.
//
//   from              to                by
//   IN SERVICE        OUT OF SERVICE    begin
//   OUT OF SERVICE    IN SERVICE        undo
//
// OUT OF SERVICE, health is 503 and other hosts send nobody here. The listeners stay, and what still comes is served, since load balancers and
// clients need a while to notice; but no connection is kept, and none is passed to a service. Nothing is cut: that is a stop's part.

import { setTimeout as pause } from 'node:timers/promises'
import type { Config } from '../config/config.ts'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import type { ConnectionRecord, RequestRecord } from '../proxy/records.ts'
import type { Backends } from './backends/backends.ts'
import { SCHEMA, shownConnection, type Watched } from './control/answers.ts'
import type { ActOutcome } from './control-socket.ts'
import type { WorkerGroups } from './worker-groups.ts'

/** How often workers are asked what still runs, in milliseconds. */
const LOOK_MS = 500

/** What a drain is made from. */
export interface DrainOptions {
  readonly groups: WorkerGroups
  /** Asks all workers, those of earlier processes among them. */
  readonly ask: Watched['ask']
  readonly backends: Pick<Backends, 'setAway'>
  /** Process ids of daemons whose place this one has taken, and that still finish what they have. */
  readonly earlierPids: () => readonly number[]
  /** The configuration in force. */
  readonly config: () => Config
  /** Logs an act of an administrator. */
  readonly acted: (event: string, particulars: Readonly<Record<string, unknown>>) => void
}

/** See the head of this file. */
export class Drain {
  readonly #options: DrainOptions
  #isOutOfService = false

  constructor(options: DrainOptions) {
    this.#options = options
  }

  get isOutOfService(): boolean {
    return this.#isOutOfService
  }

  /**
   * Takes the gateway out of service. Resolves when nothing runs any more, with what still runs when `drain-timeout` is over, or with a failure
   * when somebody puts it in service again meanwhile.
   */
  async begin(): Promise<ActOutcome> {
    this.#put(true)
    const untilMs = performance.now() + this.#options.config().limits.drainTimeoutMs
    for (;;) {
      const running = await this.#running()
      const earlierPids = this.#options.earlierPids()
      if (!this.#isOutOfService)
        return { kind: 'failed', code: 'drain-refused', message: 'the gateway was put in service again meanwhile' }
      const isOver = running.length + earlierPids.length === 0
      if (isOver || performance.now() >= untilMs) return drained(running, earlierPids)
      await pause(LOOK_MS)
    }
  }

  /** Puts it in service again. */
  undo(): ActOutcome {
    this.#put(false)
    return { kind: 'done', said: { schema: SCHEMA } }
  }

  #put(isOutOfService: boolean): void {
    if (this.#isOutOfService === isOutOfService) return
    const { groups, backends, acted } = this.#options
    this.#isOutOfService = isOutOfService
    acted(isOutOfService ? 'out-of-service' : 'in-service', {})
    backends.setAway(isOutOfService)
    groups.outOfService(isOutOfService)
  }

  /**
   * Connections with a request, tunnel or channel. Not those that ask the gateway how it does, nor calls of the XenAPI: who waits for events by
   * them asks again and again.
   */
  async #running(): Promise<readonly ConnectionRecord[]> {
    const told = await this.#options.ask({ kind: 'connections', id: '' })
    return told.flat().filter(({ request }) => request !== null && !isLeftAlone(request))
  }
}

/** Whether a drain does not wait for it. The paths of custom services, which may have any name, begin otherwise than those of the XenAPI. */
function isLeftAlone({ service, path }: RequestRecord): boolean {
  return service === CONTROL_SERVICE || (service === 'xenapi' && !path.startsWith('/services/'))
}

function drained(running: readonly ConnectionRecord[], earlierPids: readonly number[]): ActOutcome {
  const isOver = running.length + earlierPids.length === 0
  const said = { schema: SCHEMA, drained: isOver, running: running.map(shownConnection), earlierPids }
  return { kind: 'done', said }
}
