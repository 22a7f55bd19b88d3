// A session as every part of the gateway knows it: plain data, sent between processes as it is.

import type { Role } from './role.ts'

/**
 * A live session. It does not hold the session id: who needs the id has it beside the session, and what holds a
 * session can be logged.
 */
export interface Session {
  /** Public handle of the session (the XenAPI record's `uuid`): names it in endings and logs. Not a secret. */
  readonly uuid: string
  /** Name that the user signed in with. */
  readonly user: string
  /** Reference of the user's subject, `OpaqueRef:<uuid>`, or `OpaqueRef:NULL` for a local superuser. */
  readonly subject: string
  /** Roles held, from the highest; never empty. */
  readonly roles: readonly Role[]
  /** Originator given at login; empty when the client gave none. */
  readonly originator: string
  /** Whether this is the local superuser (root), who has every right. */
  readonly isLocalSuperuser: boolean
}
