// Opens the registry xapi.

import { XapiClient } from '../../xapi/client.ts'
import type { OpenedRegistry, RegistryContext } from '../open.ts'
import { XapiRegistry } from './registry.ts'

/** It has connections of its own: a call that waits for events keeps one busy. */
export function openXapiRegistry({ config: { sessions, pool }, report }: RegistryContext): OpenedRegistry {
  const registry = new XapiRegistry({
    client: new XapiClient(sessions.xapi, (error) =>
      report(error === null ? 'registry-reachable' : 'registry-unreachable', error),
    ),
    // The configuration has been checked: this registry needs an address.
    own: { name: pool.host, origin: pool.address ?? '' },
    report: (error) => report('registry-problem', error),
  })
  return { registry, isTold: true }
}
