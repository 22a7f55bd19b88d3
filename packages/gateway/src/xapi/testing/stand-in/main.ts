// The stand-in XenAPI server, a program of its own: argv[2] is the path of its Unix socket, argv[3] and argv[4] are the
// files of a certificate and its key for HTTPS on a port of 127.0.0.1 that the system chooses.
//
// Standard input takes one order a line, `{"id", "order", …}`, and standard output answers each, `{"id", "result"}`; the
// first line says `{"ready": <HTTPS port>}`. Orders make sessions and hosts, and faults: what `fault` asks for holds for
// every call on every listener until the next one.

import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { type Caller, callMethod } from './methods.ts'
import { ApiFailure, Tables, textOf, type Value } from './tables.ts'
import { readCall } from './wire.ts'

/** How calls go wrong. */
export type Fault =
  | { readonly kind: 'none' }
  /** Every call is answered so many milliseconds later. */
  | { readonly kind: 'slow'; readonly ms: number }
  /** Calls are taken and never answered. */
  | { readonly kind: 'hang' }
  /** The answer is no JSON and no XML. */
  | { readonly kind: 'garbage' }
  /** HTTP 500. */
  | { readonly kind: 'broken' }
  /** The Unix socket belongs to a member: calls get HOST_IS_SLAVE with this address. */
  | { readonly kind: 'member'; readonly address: string }
  /** So many changes of the pool's other_config are made, and others get HTTP 500. */
  | { readonly kind: 'break-off'; readonly changes: number }

/** What can be asked of the program. */
export type Order =
  | { readonly order: 'fault'; readonly fault: Fault }
  /** Stop listening, and end every connection. */
  | { readonly order: 'close' }
  | { readonly order: 'open' }
  /** As when xapi is restarted: every session is gone. */
  | { readonly order: 'restart' }
  | { readonly order: 'add-user'; readonly name: string; readonly password: string; readonly role: string }
  | { readonly order: 'set-role'; readonly name: string; readonly role: string }
  | { readonly order: 'login'; readonly name: string; readonly originator: string }
  | { readonly order: 'logout'; readonly session: string }
  /** Ends the sessions with this originator. */
  | { readonly order: 'logout-originator'; readonly originator: string }
  | { readonly order: 'session'; readonly session: string }
  | { readonly order: 'add-host'; readonly hostname: string; readonly address: string }
  | { readonly order: 'remove-host'; readonly hostname: string }
  | { readonly order: 'host'; readonly hostname: string }
  | { readonly order: 'set-live'; readonly hostname: string; readonly live: boolean }
  | {
      readonly order: 'set-other-config'
      readonly hostname: string
      readonly key: string
      readonly value: string | null
    }
  /** The messages that were made. */
  | { readonly order: 'messages' }
  | { readonly order: 'set-ha'; readonly on: boolean }
  /** Tokens of events that were given out so far are too old. */
  | { readonly order: 'lose-events' }
  /** How often each method was called since this was last asked. */
  | { readonly order: 'calls' }

const [, , socketPath = '', certificateFile = '', keyFile = ''] = process.argv
const tables = new Tables()
let fault: Fault = { kind: 'none' }
let calls = new Map<string, number>()
const options = { cert: readFileSync(certificateFile), key: readFileSync(keyFile) }
let local: Server | null = null
let secure: Server | null = null
let port = 0

async function open(): Promise<void> {
  local = createHttpServer((request, response) => void answer(request, response, true))
  secure = createHttpsServer(options, (request, response) => void answer(request, response, false))
  local.listen(socketPath)
  secure.listen(port, '127.0.0.1')
  await Promise.all([once(local, 'listening'), once(secure, 'listening')])
  port = (secure.address() as AddressInfo).port
}

function close(): void {
  for (const server of [local, secure]) {
    server?.close()
    server?.closeAllConnections()
  }
  rmSync(socketPath, { force: true })
  tables.wakeWaiters()
}

async function answer(request: IncomingMessage, response: ServerResponse, isLocal: boolean): Promise<void> {
  request.on('error', () => {})
  const body = await text(request).catch(() => '')
  const now = fault
  if (now.kind === 'hang') return
  if (now.kind === 'slow') {
    await new Promise((resolve) => {
      setTimeout(resolve, now.ms)
    })
  }
  if (now.kind === 'garbage') {
    response.setHeader('Content-Type', 'text/html').end('<html>not what you <asked for')
    return
  }
  if (now.kind === 'broken' || request.method !== 'POST') {
    response.writeHead(500).end('broken')
    return
  }
  const coordinatorAddress = isLocal && now.kind === 'member' ? now.address : null
  await run(request.url ?? '/', body, response, { isLocal, coordinatorAddress })
}

async function run(path: string, body: string, response: ServerResponse, caller: Caller): Promise<void> {
  let call
  try {
    call = readCall(path, body)
  } catch {
    response.writeHead(500).end('malformed')
    return
  }
  calls.set(call.method, (calls.get(call.method) ?? 0) + 1)
  if (isBrokenOff(call.method)) {
    response.writeHead(500).end('broken')
    return
  }
  response.setHeader('Content-Type', call.contentType)
  try {
    response.end(call.succeed(await callMethod(tables, call.method, call.params, caller)))
  } catch (error) {
    if (!(error instanceof ApiFailure)) throw error
    response.end(call.fail(error))
  }
}

function isBrokenOff(method: string): boolean {
  if (fault.kind !== 'break-off' || !/^pool\.(add_to|remove_from)_other_config$/.test(method)) return false
  if (fault.changes === 0) return true
  fault = { ...fault, changes: fault.changes - 1 }
  return false
}

async function obey(order: Order): Promise<Value> {
  switch (order.order) {
    case 'fault':
      fault = order.fault
      return ''
    case 'close':
      close()
      return ''
    case 'open':
      await open()
      return ''
    case 'restart':
      close()
      tables.sessions.clear()
      await open()
      return ''
    case 'add-user':
      tables.addSubject(order.name, order.password, order.role)
      return ''
    case 'set-role': {
      const subject = tables.subjects.get(tables.users.get(order.name)?.subject ?? '')
      if (subject !== undefined) subject['roles'] = [tables.roleRef(order.role)]
      return ''
    }
    case 'login':
      return tables.openSession(order.name, order.originator)
    case 'logout':
      return tables.sessions.delete(order.session)
    case 'logout-originator':
      for (const [ref, row] of tables.sessions) if (row.originator === order.originator) tables.sessions.delete(ref)
      return ''
    case 'session': {
      const row = tables.sessions.get(order.session)
      return row === undefined ? '' : { lastActiveMs: row.lastActiveMs, uuid: row.uuid, subject: row.subject ?? '' }
    }
    case 'calls': {
      const counted = Object.fromEntries(calls)
      calls = new Map()
      return counted
    }
    case 'messages':
      return tables.messages
    case 'set-ha':
      tables.hasHa = order.on
      return ''
    case 'lose-events':
      tables.generation += 1
      tables.lostBefore = tables.generation
      tables.wakeWaiters()
      return ''
    default:
      return obeyAboutHosts(order)
  }
}

type HostOrder = Extract<Order, { readonly hostname: string }>

function obeyAboutHosts(order: HostOrder): Value {
  if (order.order === 'add-host') return tables.addHost(order.hostname, order.address)
  const [ref, record] = tables.hostNamed(order.hostname)
  switch (order.order) {
    case 'remove-host':
      tables.removeHost(ref)
      return ''
    case 'host':
      return record
    case 'set-live': {
      const metrics = tables.metrics.get(textOf(record['metrics']))
      if (metrics !== undefined) metrics['live'] = order.live
      tables.changed('host_metrics', textOf(record['metrics']), 'mod')
      return ''
    }
    case 'set-other-config': {
      const config = record['other_config'] as Record<string, Value>
      if (order.value === null) delete config[order.key]
      else config[order.key] = order.value
      tables.changed('host', ref, 'mod')
      return ''
    }
  }
}

await open()
process.stdout.write(`${JSON.stringify({ ready: port })}\n`)
for await (const line of createInterface({ input: process.stdin })) {
  const { id, ...order } = JSON.parse(line) as Order & { id: number }
  process.stdout.write(`${JSON.stringify({ id, result: await obey(order) })}\n`)
}
close()
process.exit(0)
