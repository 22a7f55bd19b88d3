// Calls of plugins by the XenAPI, which custom services answer. Where no service has the plugin's name it is org.xengate.plugins that is
// asked, which runs plugin scripts.

import { isServiceName } from '@xengate/channel/contract'
import type { Config, ServicesConfig } from '../config/config.ts'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import { PLUGINS_SERVICE } from '../model/plugins-service.ts'
import { isPermitted, OPEN_POLICY } from '../model/policy.ts'
import { permissionDeniedText, tooBusy, XenApiError } from '../xenapi/errors.ts'
import type { CallPlugin, PluginCall } from '../xenapi/plugin-methods.ts'
import { askService, CALLS_MAX, type ServiceWay, TIMEOUT_PART } from '../xenapi/plugin-service.ts'
import type { Account } from './account.ts'
import { connectAs } from './connect-as.ts'

/** @param config the configuration in force, @param account of whom workers run as with it */
export function pluginCalls(config: () => Config, account: (config: Config) => Account | null): CallPlugin {
  let underWay = 0
  return async (call) => {
    const { services, limits } = config()
    const { plugin, fn } = call
    if (!isServiceName(plugin) || plugin === CONTROL_SERVICE) throw missing(plugin)
    if (underWay >= CALLS_MAX) throw tooBusy()
    underWay++
    try {
      const as = account(config())
      const way = {
        connect: (path: string) => connectAs(as, path),
        timeoutMs: limits.responseTimeoutMs * TIMEOUT_PART,
      }
      const name = encodeURIComponent(fn)
      const value =
        (await answerOf(plugin, `/${name}`, call, services, way)) ??
        (await answerOf(PLUGINS_SERVICE, `/${plugin}/${name}`, call, services, way))
      if (value === null) throw missing(plugin)
      return value
    } finally {
      underWay--
    }
  }
}

/** What a service says to a call; null when it does not run here. @param path of the call, below the service's */
async function answerOf(
  service: string,
  path: string,
  call: PluginCall,
  { directories, policy: policies, methods }: ServicesConfig,
  way: Pick<ServiceWay, 'connect' | 'timeoutMs'>,
): Promise<string | null> {
  const policy = policies[service] ?? OPEN_POLICY
  if (!methods.includes('POST') || !isPermitted(policy, 'POST', call.session.roles)) {
    throw permissionDeniedText('host.call_plugin', `The role of this session may not use ${service}`)
  }
  return askService(service, path, call, { ...way, directories, policy })
}

function missing(plugin: string): XenApiError {
  return new XenApiError('XENAPI_MISSING_PLUGIN', [plugin])
}
