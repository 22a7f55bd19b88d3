// What no single option of the configuration can tell: rules between options, and those on resolved paths.

import { isIPv4 } from 'node:net'
import {
  SOCKET_PATH_BYTES_MAX,
  formatListenAddress,
  isLoopback,
  type ListenAddress,
  type Upstream,
} from './addresses.ts'
import type { Config, ListenConfig } from './config.ts'

/** What is wrong, and at which key, from the top of the file. */
export interface Issue {
  readonly code: 'custom'
  readonly path: PropertyKey[]
  readonly message: string
  readonly input: undefined
}

/** What is wrong at `key`. */
export function issue(key: PropertyKey[], message: string): Issue {
  return { code: 'custom', path: key, message, input: undefined }
}

/** What no single option can tell: rules between options, and those on resolved paths. */
export function crossIssues(config: Config): Issue[] {
  return [
    ...stateIssues(config),
    ...listenIssues(config),
    ...policyIssues(config),
    ...poolIssues(config),
    ...hostNameIssues(config),
    ...frontIssues(config),
    ...controlIssues(config),
  ]
}

/** The daemon's own sockets are in the state directory; the longest name is `gateway.sock`. */
function stateIssues({ stateDir }: Config): Issue[] {
  const bytesMax = SOCKET_PATH_BYTES_MAX - '/gateway.sock'.length
  const bytes = Buffer.byteLength(stateDir)
  if (bytes <= bytesMax) return []
  return [issue(['state-dir'], `must be shorter: it may have ${bytesMax} bytes, for a socket in it, and has ${bytes}`)]
}

function listenIssues(config: Config): Issue[] {
  const seen = new Set<string>()
  return config.listen.flatMap(({ address, tls: files }, index) => {
    const issues: Issue[] = []
    const key = ['listen', index, 'address']
    const text = formatListenAddress(address)
    if (seen.has(text)) issues.push(issue(key, 'must not be the address of another listener'))
    seen.add(text)
    if (address.kind === 'unix' && files !== null) {
      issues.push(issue(['listen', index, 'tls'], 'must not be given for a Unix socket, which nobody can listen in on'))
    }
    const bytes = address.kind === 'unix' ? Buffer.byteLength(address.path) : 0
    if (bytes > SOCKET_PATH_BYTES_MAX) {
      const limit = `the path of a Unix socket may have ${SOCKET_PATH_BYTES_MAX} bytes`
      issues.push(issue(key, `must be shorter: ${limit}, and ${text.slice('unix:'.length)} has ${bytes}`))
    }
    return issues
  })
}

function controlIssues({ control: { metrics }, listen: listeners }: Config): Issue[] {
  if (metrics === null) return []
  const key = ['control', 'metrics']
  const text = formatListenAddress(metrics)
  const isTaken = listeners.some(({ address }) => formatListenAddress(address) === text)
  // Port 0 is another one each time.
  if (isTaken && !text.endsWith(':0')) return [issue(key, 'must not be the address of a listener')]
  const bytes = metrics.kind === 'unix' ? Buffer.byteLength(metrics.path) : 0
  if (bytes <= SOCKET_PATH_BYTES_MAX) return []
  return [issue(key, `must be shorter: the path of a Unix socket may have ${SOCKET_PATH_BYTES_MAX} bytes`)]
}

/** Only a Unix socket has a file. */
export function socketFileIssues(listeners: readonly WrittenListener[]): Issue[] {
  return listeners.flatMap((one, index) =>
    one.address.kind === 'unix'
      ? []
      : (['mode', 'owner', 'group'] as const)
          .filter((key) => one[key] !== undefined)
          .map((key) => issue(['listen', index, key], 'must not be given for a TCP port: only a Unix socket has it')),
  )
}

function frontIssues({
  front: behind,
  listen: listeners,
  sessions: { authority },
  pool: { registry },
}: Config): Issue[] {
  if (behind === null) return []
  const issues: Issue[] = []
  if (authority !== 'xapi') {
    const why = 'clients log in at xapi, so that no other authority knows their sessions'
    issues.push(issue(['sessions', 'authority'], `must be "xapi" with [front]: ${why}`))
  }
  if (behind.pluginCalls && registry !== 'xapi') {
    const why = "by it the gateway knows which of xapi's hosts this one is"
    issues.push(issue(['pool', 'registry'], `must be "xapi" with front.plugin-calls: ${why}`))
  }
  if (listeners.some(({ address }) => isAt(address, behind.upstream))) {
    issues.push(issue(['front', 'upstream'], 'must be where xapi listens, and not the address of a listener here'))
  }
  return issues
}

/** Whether what is sent to `upstream` would come back to the listener, without end. */
function isAt(address: ListenAddress, upstreamAt: Upstream): boolean {
  if (address.kind !== 'tcp' || address.port !== upstreamAt.port) return false
  const hosts = [address.host, upstreamAt.host]
  const isEverywhere = address.host === '0.0.0.0' || address.host === '::'
  if (isEverywhere || hosts.includes('localhost')) return hosts.slice(isEverywhere ? 1 : 0).every(isLoopback)
  return address.host === upstreamAt.host
}

function policyIssues({ services: { policy: policies, methods } }: Config): Issue[] {
  return Object.entries(policies).flatMap(([name, rule]) => {
    if (rule.roles === null || Array.isArray(rule.roles)) return []
    return Object.keys(rule.roles)
      .filter((method) => !methods.includes(method))
      .map((method) => issue(['services', 'policy', name, 'roles', method], 'must be one of services.methods'))
  })
}

function poolIssues({ sessions: { authority, xapi: settings }, pool: { registry, address } }: Config): Issue[] {
  const issues: Issue[] = []
  const isDynamic = registry === 'valkey' || registry === 'xapi'
  if (isDynamic && authority === 'embedded') {
    const why =
      'sessions of the authority "embedded" are valid on this host only, and clients would be redirected to others'
    const instead = 'use the authority "valkey" or "xapi", or the registry "static" or "none"'
    issues.push(issue(['pool', 'registry'], `must not be this one: ${why}; ${instead}`))
  }
  if (isDynamic && address === null) {
    issues.push(issue(['pool', 'address'], 'must be the address where clients reach this host, for the others to know'))
  }
  const isRemote = settings.address.kind === 'https' && settings.passwordFile === null
  if (isRemote && (authority === 'xapi' || registry === 'xapi')) {
    issues.push(issue(['sessions', 'xapi', 'password-file'], 'must be given when xapi is reached over HTTPS'))
  }
  return issues
}

/** Other hosts send clients to this one's address: by a name there, they have to be let in. */
function hostNameIssues({ hostNames, pool: { address } }: Config): Issue[] {
  if (hostNames.length === 0 || address === null) return []
  const { hostname } = new URL(address)
  const isNamed = isIPv4(hostname) || hostname.startsWith('[') || hostNames.includes(hostname)
  return isNamed ? [] : [issue(['host-names'], `must have the name in pool.address, which is ${hostname}`)]
}

/** What is written of a listener, of what only a Unix socket has. */
type WrittenListener = Pick<ListenConfig, 'address'> & { readonly [key in 'mode' | 'owner' | 'group']?: unknown }
