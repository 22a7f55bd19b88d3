// Opens the authority xapi.

import { XapiClient } from '../../xapi/client.ts'
import type { AuthorityContext, OpenedAuthority } from '../open.ts'
import { XapiAuthority } from './authority.ts'

/** Clients log in to xapi itself: the gateway has no XenAPI of its own. */
export function openXapi({ config: { sessions }, report }: AuthorityContext): OpenedAuthority {
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
