// The load generators: wrk for connections that are kept alive, load.c for everything else. Both run on the other core.

import type { Bench } from './bench.ts'
import type { Started } from './host.ts'
import { type Running, targetOf } from './peers/peer.ts'
import { readFileSync } from 'node:fs'

/** Connections that ask at once. */
const CONNECTIONS = 64

/** What a load did. */
export interface Load {
  readonly requests: number
  readonly seconds: number
  /** Bytes of bodies, both ways. */
  readonly bytes: number
  /** With a fixed rate: latencies in microseconds. */
  readonly p50Us: number
  readonly p99Us: number
}

/** A fetch by load.c, see there. */
export interface LoadSettings {
  /** Path at the service; with `services`, `%d` in it is a service's number. */
  readonly path?: string
  readonly method?: string
  readonly bodyBytes?: number
  readonly connections?: number
  readonly seconds?: number
  readonly count?: number
  readonly services?: number
  readonly rate?: number
  /** A connection for each request: the client says so, or ends it without a word. */
  readonly closes?: 'announced' | 'unannounced'
}

/** Runs load.c. @throws when an answer was not the one expected */
export async function runLoad(bench: Bench, running: Running, settings: LoadSettings): Promise<Load> {
  const output = await bench.host.run('load', bench.programs.load, argvOf(running, settings))
  return checked(output)
}

function argvOf(running: Running, settings: LoadSettings): string[] {
  const { path = '/small', connections = CONNECTIONS, seconds, count, services, rate, method, bodyBytes } = settings
  const target = services === undefined ? targetOf(path) : `/services/plugin/org.bench.s%d${path}`
  const argv = ['-a', new URL(running.url).port, '-s', running.sessions, '-p', target, '-c', String(connections)]
  if (seconds !== undefined) argv.push('-d', String(seconds))
  if (count !== undefined) argv.push('-q', String(count))
  if (services !== undefined) argv.push('-S', String(services))
  if (rate !== undefined) argv.push('-r', String(rate))
  if (method !== undefined) argv.push('-m', method)
  if (bodyBytes !== undefined) argv.push('-b', String(bodyBytes))
  if (settings.closes !== undefined) argv.push(settings.closes === 'announced' ? '-C' : '-N')
  return argv
}

function checked(output: string): Load {
  const load = JSON.parse(output) as Load & { readonly errors: number }
  if (load.errors > 0 || load.requests === 0) {
    throw new Error(`${load.errors} of ${load.requests + load.errors} requests failed`)
  }
  return load
}

/** Opens `count` connections, asks once on each, and keeps them until `stop` is called. */
export async function holdConnections(bench: Bench, running: Running, count: number): Promise<Started> {
  const argv = [...argvOf(running, { connections: count, count }), '-I']
  const started = bench.host.start('load', bench.programs.load, argv, { input: 'pipe' })
  checked(await bench.host.printed(started, (output) => /^\{.*\}$/m.exec(output)?.[0]))
  return started
}

/** Uses each session once, so that the worker knows them all. */
export async function fillTable(bench: Bench, running: Running, count: number): Promise<void> {
  await runLoad(bench, running, { count })
}

/** What wrk is to send besides the session. */
export interface WrkSettings {
  readonly path?: string
  readonly fields?: readonly string[]
  /** Default: 64. */
  readonly connections?: number
  /** A script in Lua. */
  readonly script?: string
}

/** Runs wrk, which takes whole seconds. @throws when an answer was not 200 */
export async function runWrk(
  bench: Bench,
  running: Running,
  seconds: number,
  settings: WrkSettings,
): Promise<Pick<Load, 'requests' | 'seconds'>> {
  const [session] = readFileSync(running.sessions, 'latin1').split('\n', 1)
  const fields = [`Cookie: session_id=${session}`, ...(settings.fields ?? [])].flatMap((field) => ['-H', field])
  const script = settings.script === undefined ? [] : ['-s', settings.script]
  const url = running.url + targetOf(settings.path ?? '/small')
  const connections = String(settings.connections ?? CONNECTIONS)
  const argv = ['-t', '1', '-c', connections, '-d', String(Math.ceil(seconds)), ...fields, ...script, url]
  const output = await bench.host.run('load', 'wrk', argv)
  const [, requests, time = '', unit] = /(\d+) requests in ([\d.]+)(ms|s|m),/.exec(output) ?? []
  const problem = /Non-2xx.*|Socket errors.*/.exec(output)?.[0]
  if (problem !== undefined || requests === undefined) throw new Error(`wrk: ${problem ?? output}`)
  const scale = unit === 'ms' ? 0.001 : unit === 'm' ? 60 : 1
  return { requests: Number(requests), seconds: Number(time) * scale }
}
