// A request as a trace has it: what is told at its beginning and at its end. Who makes spans of that is in tracing/.

/** What is known when a request begins to be traced. */
export interface SpanStart {
  readonly requestId: string
  readonly method: string
  readonly service: string | null
  /** Without the query. */
  readonly path: string
  readonly scheme: 'http' | 'https'
  /** The client's address. */
  readonly client: string
  /** When its head was complete, by `performance.now`. */
  readonly startedMs: number
  /** As the client sent it: W3C Trace Context; undefined when it did not, or not once. */
  readonly traceparent: string | undefined
}

/** What is known when it is over. */
export interface SpanEnd {
  readonly status: number
  /** By the catalogue; null when the service answered. */
  readonly reason: string | null
  readonly bytesIn: number
  readonly bytesOut: number
  /** By `performance.now`; `firstByteMs` is 0 when no response came. */
  readonly firstByteMs: number
  readonly endedMs: number
}

/** A span that has begun. */
export interface RequestSpan {
  /** What the service is told in place of the client's traceparent; null: what the client said. */
  readonly traceparent: string | null
  end(end: SpanEnd): void
}

/** Begins a span. */
export type BeginSpan = (start: SpanStart) => RequestSpan
