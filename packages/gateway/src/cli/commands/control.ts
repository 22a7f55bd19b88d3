// xengate status, services, connections, refusals, events, explain, connection end: what a running gateway tells of itself.

import type { LogLevel } from '../../logging/level.ts'
import { Readable } from '../../logging/readable.ts'
import { type Control, type ControlOptions, openControl } from '../control.ts'
import { EXIT } from '../errors.ts'
import { type Io, print, say } from '../io.ts'
import { bytesText, columns, spanText, timeText } from '../table.ts'
import { repeatedly, stopOf } from '../watch.ts'

/** How an answer is shown. */
export interface ViewOptions extends ControlOptions {
  readonly json?: boolean
  readonly minimal?: boolean
  /** Shows it again and again. */
  readonly watch?: boolean
}

type Answer = Readonly<Record<string, unknown>>
/** A value of an answer, of which each field is looked for. */
type Fields = Readonly<Record<string, unknown>>

/** What is asked for, and how people see it. */
interface View {
  readonly path: string
  /** Of what is listed, the ids; else one word. */
  readonly ids?: (answer: Answer) => readonly string[]
  /** @param asked which gateway it was */
  readonly lines: (answer: Answer, asked: string) => readonly string[]
  /** What is said when there is nothing. */
  readonly nothing?: string
}

async function show(view: View, options: ViewOptions, io: Io): Promise<number> {
  const control = await openControl(options, io)
  return repeatedly(options.watch === true, io, () => showOnce(view, control, options, io))
}

async function showOnce(view: View, control: Control, { json, minimal }: ViewOptions, io: Io): Promise<number> {
  const answer = await control.ask('GET', view.path)
  if (json === true) {
    print(io, JSON.stringify(answer, null, 2))
    return EXIT.ok
  }
  if (minimal === true && view.ids !== undefined) {
    print(io, view.ids(answer).join(','))
    return EXIT.ok
  }
  const lines = view.lines(answer, control.name)
  if (lines.length === 0) say(io, view.nothing ?? 'nothing')
  for (const line of lines) print(io, line)
  return EXIT.ok
}

// ── what is shown ──

const STATUS: View = {
  path: '/status',
  ids: (answer) => [answer['outOfService'] === true ? 'out-of-service' : 'in-service'],
  lines: (answer, asked) => {
    const [workers, memory, authority, registry, transport] = [
      'workers',
      'memoryBytes',
      'authority',
      'registry',
      'transport',
    ].map((name) => fieldsOf(answer[name]))
    const since = String(answer['since'])
    const rows = [
      ['version', `${textOf(answer['version'])} (Node.js ${textOf(answer['node'])})`],
      ['asked', asked],
      ['running', `since ${timeText(Date.parse(since))} UTC (${ageText(since)}), process ${textOf(answer['pid'])}`],
      ...(answer['outOfService'] === true ? [['out of service', 'xengate drain --undo puts it in service again']] : []),
      ...listOf(answer['earlierPids']).map((pid) => [
        'finishing',
        `the earlier process ${textOf(pid)}, what it had at the upgrade`,
      ]),
      ['configuration', textOf(answer['config'], 'none: xengate dev')],
      [
        'listening',
        listOf(answer['listen'])
          .map((url) => textOf(url))
          .join(', '),
      ],
      ...certificateLines(answer['certificates']).map((line) => ['certificate', line]),
      [
        'workers',
        `${textOf(workers?.['ready'])} of ${textOf(workers?.['wanted'])} ready; ${textOf(transport?.['name'])}`,
      ],
      ['authority', heardText(authority)],
      ['registry', heardText(registry)],
      ['connections', connectionsText(fieldsOf(answer['connections']))],
      ['requests', countsText(answer)],
      ...overloadRows(fieldsOf(answer['overload'])),
      ['memory', `${sizeText(memory?.['primary'])}, workers ${sizeText(memory?.['workers'])}`],
    ]
    const warnings = listOf(answer['warnings']).map((one) => {
      const { event, count, last } = fieldsOf(one)
      return [
        'warning',
        `${textOf(event)} ${count === 1 ? 'once' : `${textOf(count)} times`}, last ${ageText(last)} ago`,
      ]
    })
    return columns([...rows, ...warnings])
  },
}

const SERVICES: View = {
  path: '/services',
  nothing: 'no services are here',
  ids: (answer) => listOf(answer['services']).map((one) => textOf(fieldsOf(one)['name'])),
  lines: (answer) =>
    table(
      ['SERVICE', 'STATE', 'REQUESTS', 'REFUSED', 'ERRORS', 'FIRST BYTE'],
      listOf(answer['services']),
      (service) => [
        textOf(service['name']),
        serviceText(service),
        ...['requests', 'refusals', 'errors'].map((name) => textOf(service[name])),
        typeof service['latencyMs'] === 'number' ? `${service['latencyMs']} ms` : '-',
      ],
    ),
}

function serviceText({ hosts, accepts, breakerOpen, queued }: Fields): string {
  if (Array.isArray(hosts)) return `on ${hosts.join(', ')}`
  const waiting = typeof queued === 'number' && queued > 0 ? `, ${queued} waiting` : ''
  if (typeof breakerOpen === 'number' && breakerOpen > 0) return 'breaker open'
  return `${accepts === true ? 'running' : 'down'}${waiting}`
}

const CONNECTIONS: View = {
  path: '/connections',
  nothing: 'nobody is connected',
  ids: (answer) => listOf(answer['connections']).map((one) => textOf(fieldsOf(one)['id'])),
  lines: (answer) => connectionLines(answer['connections']),
}

/** Connections as people see them. */
export function connectionLines(connections: unknown): readonly string[] {
  const headings = ['ID', 'CLIENT', 'STATE', 'AGE', 'SERVICE', 'USER', 'REQUEST', 'IN', 'OUT']
  return table(headings, listOf(connections), (one) => {
    const request = fieldsOf(one['request'])
    const what = [textOf(request['method'], ''), textOf(request['path'], '')].join(' ').trim()
    return [
      textOf(one['id']),
      textOf(one['client']) === '' ? 'local' : textOf(one['client']),
      textOf(one['state']),
      ageText(one['since']),
      textOf(request['service']),
      textOf(request['user']),
      what === '' ? '-' : what,
      sizeText(request['bytesIn']),
      sizeText(request['bytesOut']),
    ]
  })
}

const REFUSALS: View = {
  path: '/refusals',
  nothing: 'nothing was refused, and nothing failed',
  ids: (answer) => listOf(answer['refusals']).map((one) => textOf(fieldsOf(one)['requestId'])),
  lines: (answer) =>
    table(
      ['TIME (UTC)', 'STATUS', 'REASON', 'BY', 'CLIENT', 'REQUEST', 'REQUEST ID'],
      listOf(answer['refusals']),
      ({ time, status, reason, by, client, method, path, requestId }) => [
        timeText(Date.parse(textOf(time))),
        textOf(status),
        textOf(reason),
        textOf(by),
        textOf(client),
        `${textOf(method)} ${textOf(path)}`,
        textOf(requestId),
      ],
    ),
}

function explainView(id: string): View {
  return {
    path: `/requests/${encodeURIComponent(id)}`,
    lines: (answer) => {
      const { state, connection, offence, ...request } = fieldsOf(answer['request'])
      const under = fieldsOf(connection)
      const fields = { ...fieldsOf(under['request']), ...request }
      const rows = Object.entries(fields)
        .filter(([, value]) => value !== null && value !== undefined)
        .map(([name, value]) => explainedRow(name, value))
      const { side, offset, text, textOffset } = fieldsOf(offence)
      const found =
        side === undefined
          ? []
          : [
              [
                `the ${textOf(side)}'s message`,
                offset === null ? 'malformed in its body' : `malformed at byte ${textOf(offset)}`,
              ],
            ]
      const shown = typeof text === 'string' && text !== '' ? [[`from byte ${textOf(textOffset)}`, text]] : []
      return columns([['state', textOf(state)], ...rows, ...found, ...shown])
    },
  }
}

/** What a person reads of a request's fields, where their names do not say it. */
const EXPLAINED: Readonly<Record<string, readonly [label: string, text: (value: unknown) => string]>> = {
  time: ['ended (UTC)', (time) => timeText(Date.parse(textOf(time)))],
  since: ['began (UTC)', (time) => timeText(Date.parse(textOf(time)))],
  requestId: ['request', textOf],
  id: ['request', textOf],
  by: ['ended by', textOf],
  bytesIn: ['body in', sizeText],
  bytesOut: ['body out', sizeText],
  ttfbMs: ['first byte', (ms) => `after ${textOf(ms)} ms`],
  totalMs: ['took', (ms) => `${textOf(ms)} ms`],
}

function explainedRow(name: string, value: unknown): readonly string[] {
  const [label, text] = EXPLAINED[name] ?? [name, textOf]
  return [label, text(value)]
}

/** Certificates, and until when they are valid. */
export function certificateLines(certificates: unknown): readonly string[] {
  return listOf(certificates).map((one) => {
    const { listener, until } = fieldsOf(one)
    const untilMs = Date.parse(textOf(until))
    const left = untilMs > Date.now() ? `valid for ${spanText(untilMs - Date.now())}` : 'EXPIRED'
    return `of ${textOf(listener)}: until ${timeText(untilMs)} UTC, ${left}`
  })
}

function table(
  headings: readonly string[],
  list: readonly unknown[],
  cells: (one: Fields) => readonly string[],
): readonly string[] {
  return list.length === 0 ? [] : columns([headings, ...list.map((one) => cells(fieldsOf(one)).map(printable))])
}

/** One for each worker that does something against overload: what, why, and what would be changed. */
function overloadRows({ workers }: Fields): readonly (readonly string[])[] {
  return listOf(workers).map((one) => {
    const { pid, stage, means, resource, used, limit, key } = fieldsOf(one)
    const use = `${textOf(resource)} ${Math.round(Number(used))} of ${textOf(limit)}`
    return [
      'overload',
      `stage ${textOf(stage)} of 4 in worker ${textOf(pid)}: ${textOf(means)}; ${use}: ${textOf(key)}`,
    ]
  })
}

function heardText(fields: Fields | undefined): string {
  return `${textOf(fields?.['kind'])}${fields?.['isHeard'] === true ? '' : ', DOES NOT ANSWER'}`
}

function connectionsText(states: Fields): string {
  const some = Object.entries(states).filter(([, count]) => count !== 0)
  return some.length === 0 ? 'none' : some.map(([state, count]) => `${textOf(count)} ${state}`).join(', ')
}

function countsText({ requests, refusals, errors, latencyMs }: Fields): string {
  const mean = typeof latencyMs === 'number' ? `; first byte after ${latencyMs} ms (mean)` : ''
  return `${textOf(requests)}, refused ${textOf(refusals)}, errors ${textOf(errors)}${mean}`
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function textOf(value: unknown, none = '-'): string {
  if (value === null || value === undefined) return none
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? none)
}

/** A client chose it: no byte of it may move the terminal's cursor. */
function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it is about
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?')
}

function ageText(since: unknown): string {
  return spanText(Date.now() - Date.parse(textOf(since)))
}

function sizeText(value: unknown): string {
  return typeof value === 'number' ? bytesText(value) : '-'
}

// ── commands ──

export function showStatus(options: ViewOptions, io: Io): Promise<number> {
  return show(STATUS, options, io)
}

export function showServices(options: ViewOptions, io: Io): Promise<number> {
  return show(SERVICES, options, io)
}

export function showConnections(options: ViewOptions, io: Io): Promise<number> {
  return show(CONNECTIONS, options, io)
}

export function showRefusals(options: ViewOptions, io: Io): Promise<number> {
  return show(REFUSALS, options, io)
}

export function explainRequest(id: string, options: ViewOptions, io: Io): Promise<number> {
  return show(explainView(id), options, io)
}

export async function showEvents(options: ViewOptions, io: Io): Promise<number> {
  const control = await openControl(options, io)
  const readable = new Readable(io.stdout.isTTY === true && (io.env['NO_COLOR'] ?? '') === '')
  await control.listen((json) => {
    if (options.json === true) print(io, json)
    else io.stdout.write(readableEvent(readable, json))
  }, stopOf(io))
  return EXIT.ok
}

function readableEvent(readable: Readable, json: string): string {
  const { level, time, pid: _pid, ...record } = JSON.parse(json) as Fields
  return readable.event(level as LogLevel, record, new Date(String(time)))
}

export async function endConnection(id: string, options: ControlOptions, io: Io): Promise<number> {
  const control = await openControl(options, io)
  await control.ask('POST', `/connections/${encodeURIComponent(id)}/end`)
  say(io, `ended the connection ${id}`)
  return EXIT.ok
}

export async function closeBreaker(name: string, options: ControlOptions, io: Io): Promise<number> {
  const control = await openControl(options, io)
  const { workers } = await control.ask('POST', `/services/${encodeURIComponent(name)}/close-breaker`)
  say(io, `the service ${name} is asked again, by ${workers === 1 ? '1 worker' : `${textOf(workers)} workers`} more`)
  return EXIT.ok
}
