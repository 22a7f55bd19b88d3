// Who may use the control service.

import { NO_LIMITS } from '../../model/service-limits.ts'
import { OPEN_POLICY, type PolicySetting } from '../../model/policy.ts'

/**
 * The policy of the control service: that of the configuration, if it names the service, but never open to every session, and with nothing
 * that could be used beyond it.
 */
export function controlPolicy(configured: PolicySetting | undefined): PolicySetting {
  return {
    ...(configured ?? OPEN_POLICY),
    roles: configured?.roles ?? ['pool-admin'],
    stripSession: true,
    channels: false,
    cutTransfers: true,
    // Whoever looks for what is wrong is not kept waiting.
    limits: NO_LIMITS,
  }
}
