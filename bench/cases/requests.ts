// Cases of many small or middling requests: CPU per request, and requests/s.

import { writeFileSync } from 'node:fs'
import { SERVICES } from '../bench.ts'
import { type LoadSettings, runLoad, runWrk, type WrkSettings } from '../load.ts'
import type { Case, Situation } from './case.ts'
import { measureRequests } from './cpu.ts'

const PLOTS = ['cpuUs', 'requestsPerSecond'] as const

function wrkCase(name: string, title: string, how: string, settings: WrkSettings, warm: LoadSettings = {}): Case {
  return {
    name,
    title: () => title,
    how: `${how} \`wrk -t 1 -c ${settings.connections ?? 64}\`.`,
    plots: PLOTS,
    async measure({ bench, options, running }) {
      await runLoad(bench, running, { ...warm, seconds: options.warmSeconds })
      return measureRequests(running.pids, () => runWrk(bench, running, options.seconds, settings))
    },
  }
}

function loadCase(
  name: string,
  title: (situation: Situation['options']) => string,
  how: string,
  settings: LoadSettings,
): Case {
  return {
    name,
    title,
    how: `${how} \`native/load.c\`, 64 connections.`,
    plots: PLOTS,
    async measure({ bench, options, running }) {
      await runLoad(bench, running, { ...settings, seconds: options.warmSeconds })
      return measureRequests(running.pids, () => runLoad(bench, running, { ...settings, seconds: options.seconds }))
    },
  }
}

export const keepAlive: Case = wrkCase(
  'keep-alive',
  'GET of 22 bytes, kept alive',
  'A request like a small API call, on connections that stay open.',
  {},
)

export const keepAlive4: Case = fewOrMany(4)
export const keepAlive256: Case = fewOrMany(256)

function fewOrMany(connections: number): Case {
  return wrkCase(
    `keep-alive-${connections}`,
    `GET of 22 bytes, kept alive, ${connections} connections`,
    'The more connections ask at once, the more of them are served in one turn of an event loop.',
    { connections },
    { connections },
  )
}

export const packedKeepAlive: Case = wrkCase(
  'packed-keep-alive',
  'The same in the packed form, with and without the settings for little memory',
  "What the dom0 package's unit tells Node.js and the C library costs in throughput.",
  {},
)

/** Twenty fields such as browsers and proxies send: 2 KiB in all. */
const FIELDS = Array.from(
  { length: 20 },
  (_, index) => `X-Header-${String(index).padStart(2, '0')}: ${'v'.repeat(2048 / 20 - 15)}`,
)

export const headers: Case = wrkCase(
  'headers',
  'GET with 2 KiB of request headers, kept alive',
  'Twenty more header fields, 2 KiB together.',
  { fields: FIELDS },
)

export const response64k: Case = wrkCase(
  'response-64k',
  'GET of 64 KiB, kept alive',
  'Responses of 64 KiB.',
  { path: '/64k' },
  { path: '/64k' },
)

function postCase(name: string, size: string, bytes: number): Case {
  return {
    name,
    title: () => `POST of ${size}, kept alive`,
    how: `Request bodies of ${size} with Content-Length. \`wrk -t 1 -c 64\` with a script that sets method and body.`,
    plots: PLOTS,
    async measure({ bench, options, running }) {
      const script = bench.host.path(`${name}.lua`)
      writeFileSync(script, `wrk.method = "POST"\nwrk.body = string.rep("x", ${bytes})\n`)
      const warm = { path: '/body', method: 'POST', bodyBytes: bytes, seconds: options.warmSeconds }
      await runLoad(bench, running, warm)
      return measureRequests(running.pids, () => runWrk(bench, running, options.seconds, { path: '/body', script }))
    },
  }
}

export const post1k: Case = postCase('post-1k', '1 KiB', 1024)
export const post64k: Case = postCase('post-64k', '64 KiB', 65_536)

export const connectionPerRequest: Case = loadCase(
  'connection-per-request',
  () => 'GET of 22 bytes, a connection per request',
  'Each request on a connection of its own, with `Connection: close`.',
  { closes: 'announced' },
)

export const oneService: Case = loadCase('services-1', () => '1 service', 'One service.', { services: 1 })

export const manyServices: Case = loadCase(
  'services-500',
  () => `${SERVICES} services`,
  `${SERVICES} services on as many sockets, each request at another one by chance.`,
  { services: SERVICES },
)

export const sessions: Case = loadCase(
  'sessions',
  ({ sessionCounts }) => `${sessionCounts.map((count) => count.toLocaleString('en')).join(', ')} live sessions`,
  'Rows in the real database of the real daemon; each session is used once before, so that the worker knows all of them. Then each request uses one by chance, so that the reports of activity count as well.',
  {},
)

export const workers: Case = loadCase(
  'workers',
  () => 'One worker and two',
  'Both on both cores, which the load and the service share: this shows what scaling gives on this machine, not what a machine with a core for each would.',
  {},
)

export const accessLog: Case = loadCase(
  'access-log',
  () => 'Access log off and on',
  'One line of JSON for each request, into a file.',
  {},
)

export const authorities: Case = wrkCase(
  'authorities',
  'GET of 22 bytes, kept alive, with each authority',
  'A known session is one look-up in the worker, whoever judges it. Valkey (or Redis) and a stand-in for xapi run on the core of the load, and their CPU is not counted; that of the gateway for asking them is.',
  {},
)
