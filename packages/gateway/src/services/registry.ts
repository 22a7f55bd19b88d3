// Where services are that do not run on this host: what a 302 is made from.

/** Tells where a service is. */
export interface ServiceRegistry {
  /** Origin (`http(s)://host[:port]`, no trailing slash) of the host that has the service `name`, or undefined. */
  whereIs(name: string): string | undefined
}

/**
 * The registry whose table stands in the configuration.
 * @param origins service name → origin
 * @param ownOrigin this host's own origin: a service said to be there that does not run here runs nowhere
 */
export function staticRegistry(origins: Readonly<Record<string, string>>, ownOrigin: string | null): ServiceRegistry {
  const byName = new Map(Object.entries(origins).filter(([, origin]) => origin !== ownOrigin))
  return { whereIs: (name) => byName.get(name) }
}
