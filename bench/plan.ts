// What is measured on whom.

import type { Group } from './cases/case.ts'
import { bulkGet, bulkPut } from './cases/bulk.ts'
import { channelBulk, channelConnections, channelKeepAlive } from './cases/channels.ts'
import { idle } from './cases/idle.ts'
import { latencyHalf, latencyMost } from './cases/latency.ts'
import { memory } from './cases/memory.ts'
import { cPlugin, plugins, pythonPlugin } from './cases/plugins.ts'
import {
  accessLog,
  authorities,
  connectionPerRequest,
  headers,
  keepAlive,
  keepAlive256,
  keepAlive4,
  manyServices,
  oneService,
  packedKeepAlive,
  post1k,
  post64k,
  response64k,
  sessions,
  workers,
} from './cases/requests.ts'
import type { Options } from './options.ts'
import { caddy } from './peers/caddy.ts'
import { direct } from './peers/direct.ts'
import { fastify } from './peers/fastify.ts'
import { haproxy } from './peers/haproxy.ts'
import { nginx, nginxCached } from './peers/nginx.ts'
import { nodeDirect } from './peers/node-service.ts'
import type { Peer } from './peers/peer.ts'
import { sessionsPeer, xengate } from './peers/xengate.ts'

const CHANNEL_ON_RING = { name: 'xengate-ring-channel', title: 'Xengate, io_uring, by a channel' } as const
const RELAY_ON_RING = { name: 'xengate-ring-relay', title: 'Xengate, io_uring, relaying' } as const

const gateway = xengate({ name: 'xengate', title: 'Xengate, node:net' })
const ring = xengate({ name: 'xengate-ring', title: 'Xengate, io_uring', transport: 'ring' })
const logging = xengate({ name: 'xengate-log', title: 'Xengate, access log on', logsAccess: true })
const reusing = xengate({ name: 'xengate-reuse', title: 'Xengate, reuse = "always"', reuse: 'always' })
const valkey = xengate({ name: 'xengate-valkey', title: 'Xengate, sessions in Valkey', authority: 'valkey' })
const xapi = xengate({ name: 'xengate-xapi', title: "Xengate, xapi's sessions", authority: 'xapi' })
const dom0 = xengate({ name: 'xengate-dom0', title: 'Xengate, packed, as in dom0', authority: 'xapi', packed: 'dom0' })
const packed = xengate({
  name: 'xengate-packed',
  title: 'Xengate, packed, without its settings',
  authority: 'xapi',
  packed: 'plain',
})
const channel = xengate({ name: 'xengate-channel', title: 'Xengate, by a channel', nodeService: 'channel' })
const ringChannel = xengate({ ...CHANNEL_ON_RING, nodeService: 'channel', transport: 'ring' })
const nodeRelay = xengate({ name: 'xengate-relay', title: 'Xengate, relaying', nodeService: 'relay' })
const [connected, connectedRelay, ringConnected, ringConnectedRelay] = [
  xengate({ name: 'xengate-channel', title: 'Xengate, by a channel', nodeService: 'channel', servicePlace: 'load' }),
  xengate({ name: 'xengate-relay', title: 'Xengate, relaying', nodeService: 'relay', servicePlace: 'load' }),
  xengate({ ...CHANNEL_ON_RING, nodeService: 'channel', servicePlace: 'load', transport: 'ring' }),
  xengate({ ...RELAY_ON_RING, nodeService: 'relay', servicePlace: 'load', transport: 'ring' }),
]
const everyone = [direct, gateway, ring, nginx, nginxCached, haproxy, caddy, fastify]

function withSessions(counts: readonly number[], transport: 'net' | 'ring'): Peer[] {
  return counts.map((count) =>
    xengate({
      name: sessionsPeer(count, transport),
      title: `Xengate, ${transport === 'ring' ? 'io_uring, ' : ''}${count.toLocaleString('en')} sessions`,
      sessions: count,
      transport,
    }),
  )
}

/** By both transports; by the ring only what the target compares, since a million sessions take minutes to fill in. */
function allWithSessions({ sessionCounts }: Options): Peer[] {
  const [fewest = 1, most = 1] = [sessionCounts[0], sessionCounts.at(-1)]
  return [...withSessions(sessionCounts, 'net'), ...withSessions([fewest, most], 'ring')]
}

const scaled = [1, 2].map((count) =>
  xengate({
    name: `xengate-${count}-workers`,
    title: `Xengate, ${count} worker${count === 1 ? '' : 's'} on both cores`,
    workers: count,
    isUnpinned: true,
  }),
)

/** Everything that can be measured, in this order. */
export const PLAN: readonly Group[] = [
  {
    peers: () => everyone,
    cases: [keepAlive, connectionPerRequest, headers, response64k, post64k],
  },
  { peers: () => [gateway, ring, nginx, haproxy], cases: [keepAlive4, keepAlive256] },
  { peers: () => [direct, gateway, ring, reusing, nginx, haproxy], cases: [post1k] },
  // Needs the rates of the first group.
  { peers: () => [direct, gateway, ring, nginx, nginxCached, haproxy], cases: [latencyHalf] },
  { peers: () => [gateway, ring, nginx, haproxy], cases: [latencyMost] },
  // Memory is measured in processes that have done nothing else.
  { peers: () => everyone, cases: [bulkGet] },
  { peers: () => everyone, cases: [bulkPut] },
  { peers: () => everyone.filter((peer) => peer !== direct), cases: [idle] },
  { peers: () => [gateway, ring, dom0, nginx, haproxy], cases: [memory] },
  { peers: () => [packed, dom0], cases: [packedKeepAlive] },
  { peers: () => [gateway], cases: [oneService, manyServices] },
  { peers: allWithSessions, cases: [sessions], isStartedOnce: true },
  { peers: () => scaled, cases: [workers] },
  { peers: () => [gateway, logging], cases: [accessLog] },
  { peers: () => [gateway, valkey, xapi], cases: [authorities] },
  { peers: () => [nodeDirect, channel, ringChannel, nodeRelay], cases: [channelKeepAlive] },
  { peers: () => [nodeDirect, channel, ringChannel, nodeRelay], cases: [channelBulk] },
  // Of these the gateway alone is measured, so that the service is with the load, as for all other peers.
  { peers: () => [connected, connectedRelay, ringConnected, ringConnectedRelay], cases: [channelConnections] },
  { peers: () => [pythonPlugin, cPlugin], cases: [plugins] },
]
