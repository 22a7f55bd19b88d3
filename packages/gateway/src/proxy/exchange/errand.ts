// Where a request goes, and how.

import type { Target } from '../upstream/target.ts'

/** See the head of this file. */
export interface Errand {
  readonly target: Target
  /** The head as the service gets it. */
  readonly text: string
  /** Value of Upgrade that is passed on. */
  readonly upgrade: string | undefined
  /**
   * Whether the connection that it goes on may be used again. A request whose body the other side leaves unread would be followed
   * by that body, read as a request: `after-200` is for a call of which only this status shows that it was read.
   */
  readonly reuse: 'never' | 'always' | 'after-200'
  /** Whether it is cut when its session ends. */
  readonly cutsWithSession: boolean
  /**
   * Whether it goes to xapi behind the gateway: then it takes the time that it takes, the client's connection ends where xapi's does,
   * since not all of its clients understand chunks, and what xapi answers is the answer, with nothing added.
   */
  readonly isForXapi: boolean
}
