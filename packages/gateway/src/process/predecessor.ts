// The primary whose place this one takes: `xengate upgrade`.

import type { Channel, Said } from './link.ts'
import { sockets } from './sockets.ts'

/** Says to a process that it takes the place of the one that started it. */
export const UPGRADE = 'XENGATE_UPGRADE'

/** How long what is inherited is waited for. */
const INHERIT_MS = 10_000

type Inherited = Extract<Said, { type: 'inherit' }>

/** Before it serves. */
export class Predecessor {
  /** By which services tell the gateway whose requests they bring back: it goes on. */
  readonly returnKey: string
  /** xapi's reference of this host, until the registry tells it here; null where it is not known. */
  readonly ownHost: string | null
  readonly channel: Channel
  /** Process id. */
  readonly pid: number

  private constructor(channel: Channel, pid: number, { returnKey, ownHost = null }: Inherited) {
    this.channel = channel
    this.pid = pid
    this.returnKey = returnKey
    this.ownHost = ownHost
  }

  /** Null when this process takes nobody's place. Its sockets are there to be taken after this. */
  static async of(self: NodeJS.Process): Promise<Predecessor | null> {
    const isMeant = self.env[UPGRADE] !== undefined
    delete self.env[UPGRADE]
    if (!isMeant || self.send === undefined) return null
    const channel = self as unknown as Channel
    const { promise, resolve, reject } = Promise.withResolvers<Inherited>()
    const timer = setTimeout(() => reject(new Error('the daemon whose place this one takes says nothing')), INHERIT_MS)
    channel.on('message', (message) => {
      if (message.type === 'inherit') resolve(message)
    })
    const inherited = await promise
    clearTimeout(timer)
    // It may go at any time after that, and this process may end.
    self.channel?.unref()
    sockets.borrow(inherited.sockets)
    return new Predecessor(channel, self.ppid, inherited)
  }

  /** This process cannot serve. */
  failed(why: unknown): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const problem = why instanceof Error ? why.message : String(why)
    this.channel.send?.({ type: 'failed', problem }, () => resolve())
    return promise
  }
}
