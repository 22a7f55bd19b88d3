// Roles of the XenAPI: what a user may do is what the role holds.

/** Roles of the XenAPI, from the highest to the lowest; a higher role includes every lower one. */
export const ROLES = ['pool-admin', 'pool-operator', 'vm-power-admin', 'vm-admin', 'vm-operator', 'read-only'] as const

/** One of the XenAPI's roles. */
export type Role = (typeof ROLES)[number]

/** Whether `value` is the name of a role. */
export function isRole(value: string): value is Role {
  return (ROLES as readonly string[]).includes(value)
}

/** Whether a holder of `held` may do what `wanted` asks for: the same role or a higher one. */
export function roleIncludes(held: Role, wanted: Role): boolean {
  return ROLES.indexOf(held) <= ROLES.indexOf(wanted)
}
