// Spans of requests for services, sent by OTLP over HTTP. Loaded only where the configuration has an endpoint.
//
// A request that comes with a traceparent is a part of that trace, and is sampled when its sender says so; of the others a part is. The
// service is told of the gateway's span as its parent. What cannot be sent in time is dropped: the gateway waits for no collector.

import {
  type Attributes,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api'
import { parseTraceParent, setGlobalErrorHandler } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { TracesConfig } from '../config/config.ts'
import type { BeginSpan, SpanStart } from '../proxy/exchange/span.ts'
import { version } from '../version.ts'

/** Spans that wait to be sent; more are dropped. */
const WAITING_MAX = 8192
/** How often they are sent, and how long the last of them may take when the worker ends, in milliseconds. */
const SEND_MS = 1000
const LAST_MS = 1000
/** From this status on the gateway or the service has failed. */
const FAILED_STATUS = 500

/** Methods that OpenTelemetry knows (RFC 9110 and PATCH); others are `_OTHER`. */
const METHODS: ReadonlySet<string> = new Set([
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
])

/** See the head of this file. */
export class Spans {
  readonly #provider: TracerProvider
  readonly #tracer: Tracer

  /** @param failed told of what could not be sent, each time */
  constructor({ endpoint, sample }: TracesConfig, failed: (error: unknown) => void) {
    setGlobalErrorHandler((error) => failed(error))
    this.#provider = new TracerProvider({
      resource: resourceFromAttributes({
        'service.name': 'xengate',
        'service.version': version(),
        'process.pid': process.pid,
      }),
      sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(sample) }),
      spanProcessors: [
        new BatchSpanProcessor({
          exporter: new OTLPTraceExporter({ url: endpoint }),
          maxQueueSize: WAITING_MAX,
          scheduledDelayMillis: SEND_MS,
        }),
      ],
    })
    this.#tracer = this.#provider.getTracer('xengate', version())
  }

  readonly begin: BeginSpan = (start) => {
    const received = start.traceparent === undefined ? null : parseTraceParent(start.traceparent)
    const parent =
      received === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, { ...received, isRemote: true })
    const method = METHODS.has(start.method) ? start.method : '_OTHER'
    const options = {
      kind: SpanKind.SERVER,
      startTime: performance.timeOrigin + start.startedMs,
      attributes: attributesOf(start, method),
    }
    const span = this.#tracer.startSpan(`${method} ${start.service ?? '(no service)'}`, options, parent)
    return {
      traceparent: span.isRecording() ? traceparentOf(span) : null,
      end: ({ status, reason, bytesIn, bytesOut, firstByteMs, endedMs }) => {
        span.setAttributes({
          'http.response.status_code': status,
          'http.request.body.size': bytesIn,
          'http.response.body.size': bytesOut,
        })
        if (firstByteMs !== 0) span.addEvent('response head', performance.timeOrigin + firstByteMs)
        if (reason !== null) span.setAttribute('error.type', reason)
        if (status >= FAILED_STATUS || status === 0) span.setStatus({ code: SpanStatusCode.ERROR })
        span.end(performance.timeOrigin + endedMs)
      },
    }
  }

  /** Sends what waits, as far as that can be done in a moment. */
  async close(): Promise<void> {
    const late = new Promise<void>((resolve) => {
      setTimeout(resolve, LAST_MS).unref()
    })
    await Promise.race([this.#provider.shutdown().catch(() => {}), late])
  }
}

/** By OpenTelemetry's conventions for HTTP. */
function attributesOf({ requestId, service, path, scheme, client, ...start }: SpanStart, method: string): Attributes {
  return {
    'http.request.method': method,
    ...(method === start.method ? {} : { 'http.request.method_original': start.method }),
    'url.path': path,
    'url.scheme': scheme,
    ...(client === '' ? {} : { 'client.address': client }),
    'xengate.request_id': requestId,
    ...(service === null ? {} : { 'xengate.service': service }),
  }
}

function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext()
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`
}
