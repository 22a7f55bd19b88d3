// Who may use which service: the configuration's `[services.policy."<name>"]`, made ready for one look-up a request.

import { type Role, roleIncludes } from './role.ts'
import { NO_LIMITS, type ServiceLimits } from './service-limits.ts'

/** What the configuration says about one service. */
export interface PolicySetting {
  /** Roles that may use the service, for every method or for each; null: any valid session. */
  readonly roles: readonly Role[] | Readonly<Record<string, readonly Role[]>> | null
  /** Whether the session id is taken out of the request that the service gets. */
  readonly stripSession: boolean
  /** Whether clients' connections may be passed to the service. */
  readonly channels: boolean
  /** Whether a connection to the service is used again after a body was sent on it: only where the service reads all of it. */
  readonly reuse: 'without-body' | 'always'
  /** Whether transfers under way end with their session. */
  readonly cutTransfers: boolean
  readonly limits: ServiceLimits
}

/** Policy of every service that has none of its own, where nothing is limited. */
export const OPEN_POLICY: PolicySetting = Object.freeze({
  roles: null,
  stripSession: false,
  channels: true,
  reuse: 'without-body',
  cutTransfers: true,
  limits: NO_LIMITS,
})

/** The policies in force. */
export class Policies {
  readonly #byName: ReadonlyMap<string, PolicySetting>
  readonly #allowsChannels: boolean
  /** Of services that have none of their own. */
  readonly #others: PolicySetting

  /**
   * @param allowsChannels whether connections may be passed to any service
   * @param limits of services that have no policy of their own
   */
  constructor(
    settings: Readonly<Record<string, PolicySetting>>,
    allowsChannels: boolean,
    limits: ServiceLimits = NO_LIMITS,
  ) {
    this.#byName = new Map(Object.entries(settings))
    this.#allowsChannels = allowsChannels
    this.#others = { ...OPEN_POLICY, limits }
  }

  /** Policy of the service `name`. */
  of(name: string): PolicySetting {
    return this.#byName.size === 0 ? this.#others : (this.#byName.get(name) ?? this.#others)
  }

  /** Whether connections may be passed under `policy`: what is passed cannot be stripped of the session id. */
  allowsChannel(policy: PolicySetting): boolean {
    return this.#allowsChannels && policy.channels && !policy.stripSession
  }
}

/** The ones of `methods` that a session with the roles `held` may use under `policy`. */
export function permittedMethods(
  policy: PolicySetting,
  methods: readonly string[],
  held: readonly Role[],
): readonly string[] {
  return policy.roles === null ? methods : methods.filter((method) => isPermitted(policy, method, held))
}

/**
 * Whether a session with the roles `held` may use `method` under `policy`. A higher role includes a lower one. When roles
 * are given for each method, a method that is not listed is denied to everyone.
 */
export function isPermitted(policy: PolicySetting, method: string, held: readonly Role[]): boolean {
  const { roles } = policy
  if (roles === null) return true
  const wanted = isForEveryMethod(roles) ? roles : Object.hasOwn(roles, method) ? roles[method] : undefined
  return wanted !== undefined && wanted.some((role) => held.some((own) => roleIncludes(own, role)))
}

/** Whether any role may use `method` under `policy`. */
export function isOpen({ roles }: PolicySetting, method: string): boolean {
  return roles === null || isForEveryMethod(roles) || Object.hasOwn(roles, method)
}

function isForEveryMethod(roles: NonNullable<PolicySetting['roles']>): roles is readonly Role[] {
  return Array.isArray(roles)
}
