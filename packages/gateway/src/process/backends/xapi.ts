// The authority and the registry xapi.

import { XAPI_TIMES, XapiRegistry } from '../../services/xapi/registry.ts'
import { XapiAuthority } from '../../sessions/xapi/authority.ts'
import { XapiClient } from '../../xapi/client.ts'
import type { OpenContext, OpenedAuthority, OpenedRegistry } from './opened.ts'

/** Clients log in to xapi itself: the gateway has no XenAPI of its own. */
export function openXapiAuthority({ config: { sessions }, report }: OpenContext): OpenedAuthority {
  const { xapi, staleGraceMs } = sessions
  const authority = new XapiAuthority({
    client: new XapiClient(xapi, (error) => report(error === null ? 'xapi-reachable' : 'xapi-unreachable', error)),
    trust: { recheckMs: xapi.recheckMs, staleGraceMs },
    nowMs: () => performance.now(),
    report: (error) => report('authority-failed', error),
  })
  return {
    authority,
    xenapi: null,
    configure: (config) => authority.configure(config.sessions),
    close: () => authority.close(),
  }
}

/** It has connections of its own: a call that waits for events keeps one busy. */
export function openXapiRegistry({ config: { sessions, pool }, report, ownHostKnown }: OpenContext): OpenedRegistry {
  const registry = new XapiRegistry({
    client: new XapiClient(sessions.xapi, (error) =>
      report(error === null ? 'registry-reachable' : 'registry-unreachable', error),
    ),
    // The configuration has been checked: this registry needs an address.
    own: { name: pool.host, origin: pool.address ?? '' },
    report: (error) => report('registry-problem', error),
    ownHostKnown,
    times: XAPI_TIMES,
  })
  return { registry, announces: true }
}
