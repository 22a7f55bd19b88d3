// Who may use which service: the configuration's `[services.policy."<name>"]`, made ready for one look-up a request.

import { type Role, roleIncludes } from '../sessions/session.ts'

/** What the configuration says about one service. */
export interface PolicySetting {
  /** Roles that may use the service, for every method or for each; null: any valid session. */
  readonly roles: readonly Role[] | Readonly<Record<string, readonly Role[]>> | null
  /** Whether the session id is taken out of the request that the service gets. */
  readonly stripSession: boolean
}

/** Policy of every service that has none of its own. */
const OPEN: PolicySetting = { roles: null, stripSession: false }

/** The policies in force. */
export class Policies {
  readonly #byName: ReadonlyMap<string, PolicySetting>

  constructor(settings: Readonly<Record<string, PolicySetting>>) {
    this.#byName = new Map(Object.entries(settings))
  }

  /** Policy of the service `name`. */
  of(name: string): PolicySetting {
    return this.#byName.get(name) ?? OPEN
  }
}

/**
 * Whether a session with the roles `held` may use `method` under `policy`. A higher role includes a lower one. When roles
 * are given for each method, a method that is not listed is nobody's.
 */
export function isPermitted(policy: PolicySetting, method: string, held: readonly Role[]): boolean {
  const { roles } = policy
  if (roles === null) return true
  const wanted = isForEveryMethod(roles) ? roles : Object.hasOwn(roles, method) ? roles[method] : undefined
  return wanted !== undefined && wanted.some((role) => held.some((own) => roleIncludes(own, role)))
}

function isForEveryMethod(roles: NonNullable<PolicySetting['roles']>): roles is readonly Role[] {
  return Array.isArray(roles)
}
