// What `xengate user` and `xengate session` have changed, as the daemon logs it.

import { isRole, type Role } from '../model/role.ts'

const EVENTS = ['user-added', 'user-removed', 'user-password-set', 'user-role-set', 'sessions-ended'] as const

/** A change, and who made it: by a user id of the system, and who became that by sudo. */
export interface AccountChange {
  readonly event: (typeof EVENTS)[number]
  readonly user?: string
  readonly role?: Role
  /** Uuids of sessions. */
  readonly sessions?: readonly string[]
  readonly uid: number
  readonly sudoUser?: string
}

/** Reads a change; undefined for anything else. */
export function readAccountChange(text: string): AccountChange | undefined {
  const fields = objectIn(text)
  const { user, role, sessions, uid, sudoUser } = fields
  const event = EVENTS.find((name) => name === fields['event'])
  if (event === undefined || typeof uid !== 'number') return undefined
  return {
    event,
    ...(typeof user === 'string' && { user }),
    ...(typeof role === 'string' && isRole(role) && { role }),
    ...(Array.isArray(sessions) && { sessions: sessions.map(String) }),
    uid,
    ...(typeof sudoUser === 'string' && { sudoUser }),
  }
}

function objectIn(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}
