// Requests in traces: what a collector of OpenTelemetry is sent, and what services are told.

import assert from 'node:assert/strict'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { test } from 'node:test'
import { type Daemon, startDaemon } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, type RawResponse } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const DEADLINE = { timeout: 60_000 }
const NAME = 'com.example.traced'
const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

interface Value {
  readonly stringValue?: string
  readonly intValue?: number
}

/** A span, as OTLP has it in JSON. */
interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly { readonly key: string; readonly value: Value }[]
  readonly status: { readonly code: number }
}

interface Sent {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly Span[] }[] }[]
}

/** A collector that takes all that it is sent. */
async function startCollector(scope: Scope): Promise<{ readonly url: string; readonly spans: Span[] }> {
  const spans: Span[] = []
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { resourceSpans } = (await json(request)) as Sent
    spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((one) => one.spans)))
    response.writeHead(200, { 'Content-Type': 'application/json' }).end('{}')
  }
  const server = createServer((request, response) => {
    take(request, response).catch(() => response.destroy())
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  scope.defer(() => {
    server.close()
    server.closeAllConnections()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`, spans }
}

function attribute(span: Span | undefined, key: string): string | number | undefined {
  const value = span?.attributes.find((one) => one.key === key)?.value
  return value?.stringValue ?? value?.intValue
}

function get(daemon: Daemon, session: string, name: string, more = ''): Promise<RawResponse> {
  return exchange(
    daemon.url,
    `GET /services/plugin/${name}/path?secret=1 HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${session}\r\n${more}Connection: close\r\n\r\n`,
  )
}

/** A service that notes the fields of its requests. */
async function startService(scope: Scope, daemon: Daemon): Promise<IncomingHttpHeaders[]> {
  const seen: IncomingHttpHeaders[] = []
  await serveHttp(scope, daemon.place.socket(NAME), (request, response) => {
    seen.push(request.headers)
    response.end('answer')
  })
  return seen
}

test('a request is a span of the trace that it comes with, and the service is told of it', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const { url, spans } = await startCollector(scope)
  const daemon = await startDaemon(scope, { tables: `[traces]\nendpoint = "${url}"` })
  const session = await daemon.login()
  const seen = await startService(scope, daemon)
  const spanOf = (response: RawResponse): Promise<Span> => {
    const id = response.header('x-request-id')
    return until(() => spans.find((one) => attribute(one, 'xengate.request_id') === id), 'the span')
  }

  const response = await get(daemon, session, NAME, `traceparent: 00-${TRACE}-${PARENT}-01\r\ntracestate: a=b\r\n`)
  assert.equal(response.status, 200)
  const span = await spanOf(response)
  assert.deepEqual([span.traceId, span.parentSpanId, span.kind], [TRACE, PARENT, 2])
  assert.deepEqual(
    [span.name, attribute(span, 'url.path'), attribute(span, 'http.response.status_code')],
    [`GET ${NAME}`, `/services/plugin/${NAME}/path`, 200],
  )
  assert.ok(Number(span.endTimeUnixNano) > Number(span.startTimeUnixNano))
  assert.ok(Math.abs(Number(span.startTimeUnixNano) / 1e6 - Date.now()) < 60_000)
  assert.ok(!JSON.stringify(span).includes('secret'))
  assert.equal(seen[0]?.['traceparent'], `00-${TRACE}-${span.spanId}-01`)
  assert.equal(seen[0]?.['tracestate'], 'a=b')

  // What is not sampled is passed on as it came; one without a trace begins one, and so does one whose trace cannot be read.
  const unsampled = `00-${TRACE}-${PARENT}-00`
  await get(daemon, session, NAME, `traceparent: ${unsampled}\r\n`)
  assert.equal(seen[1]?.['traceparent'], unsampled)
  for (const sent of ['', 'traceparent: nonsense\r\n', `traceparent: 00-${'0'.repeat(32)}-${PARENT}-01\r\n`]) {
    const begun = await spanOf(await get(daemon, session, NAME, sent))
    assert.ok(!begun.parentSpanId)
    assert.equal(seen.at(-1)?.['traceparent'], `00-${begun.traceId}-${begun.spanId}-01`)
  }

  // A refusal is a span, too, and the last are sent before the worker ends.
  const refused = await get(daemon, session, 'com.example.nobody', `traceparent: 00-${TRACE}-${PARENT}-01\r\n`)
  assert.equal(refused.status, 404)
  assert.equal((await daemon.stop()).code, 0)
  const last = await spanOf(refused)
  assert.deepEqual(
    [last.parentSpanId, attribute(last, 'error.type'), attribute(last, 'http.response.status_code')],
    [PARENT, 'service-unknown', 404],
  )
  assert.equal(spans.filter((one) => one.traceId === TRACE).length, 2)
})

test('what no collector takes is dropped, requests go on, and the log says so', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  // One that refuses is not asked again and again, as one that is not there would be.
  const refusing = createServer((_request, response) => response.writeHead(400).end())
  const { promise, resolve } = Promise.withResolvers<void>()
  refusing.listen(0, '127.0.0.1', resolve)
  await promise
  scope.defer(() => {
    refusing.close()
  })
  const { port } = refusing.address() as AddressInfo
  const daemon = await startDaemon(scope, { tables: `[traces]\nendpoint = "http://127.0.0.1:${port}/v1/traces"` })
  const session = await daemon.login()
  await startService(scope, daemon)
  assert.equal((await get(daemon, session, NAME)).status, 200)
  await daemon.event(({ event, level }) => event === 'traces-failed' && level === 'warn', 'that spans cannot be sent')
  assert.equal((await get(daemon, session, NAME)).status, 200)
  assert.equal((await daemon.stop()).code, 0)
})

test('no part of requests is traced but those of which somebody else has decided so', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const { url, spans } = await startCollector(scope)
  const daemon = await startDaemon(scope, { tables: `[traces]\nendpoint = "${url}"\nsample = 0` })
  const session = await daemon.login()
  const seen = await startService(scope, daemon)
  await get(daemon, session, NAME)
  await get(daemon, session, NAME, `traceparent: 00-${TRACE}-${PARENT}-01\r\n`)
  assert.equal(seen[0]?.['traceparent'], undefined)
  assert.equal((await daemon.stop()).code, 0)
  assert.deepEqual(
    spans.map(({ traceId }) => traceId),
    [TRACE],
  )
})
