// What a vector of the desync suite is: bytes of one end, and what has to become of them. The families, by number, are those of
// docs/security.md. In every vector TAG stands for a number of the same length that is the run's own.

/** What has to become of the bytes of a client. */
export const VERDICT = {
  /** One answer, a refusal; the connection is closed, and nothing behind the bytes is read. No service has a complete request. */
  REFUSED: 'R',
  /** Read as `seen`; what follows is a request by itself. */
  READ: 'F',
  /** Read as `seen` and answered; the connection is closed, and nothing behind is read. */
  CLOSED: 'K',
  /** More is awaited: what follows is a part of it. No service has a complete request. */
  AWAITED: 'W',
} as const

/** One of `VERDICT`. */
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT]

/** Bytes of a client. */
export interface RequestVector {
  readonly family: number
  readonly name: string
  /** One byte a character. */
  readonly bytes: string
  readonly verdict: Verdict
  /** The complete requests that the service gets: `METHOD /path body`, the path without the run's own beginning. */
  readonly seen: readonly string[]
  /** What the client is answered, each time one of these. */
  readonly statuses: readonly number[]
}

/** In place of the run's own number. */
export const TAG = 'T00000'
/** What every path of a run begins with. */
export const BASE: string = `/services/plugin/svc/${TAG}`
const SESSION = 'Cookie: session_id=OpaqueRef:11111111-1111-4111-8111-111111111111\r\n'
/** The lines that most heads begin with. */
export const LINES: string = `Host: h\r\n${SESSION}`

/** The beginning of a request: its request line and usual fields, without the empty line. */
export function start(method: string, path: string): string {
  return `${method} ${BASE}/${path} HTTP/1.1\r\n${LINES}`
}

/** A request that must never be read by itself. */
export const HIDDEN: string = `${start('GET', 'hidden')}\r\n`

type Made = Omit<RequestVector, 'family' | 'name'>

/** Refused. @param statuses of the refusal */
export function refused(bytes: string, ...statuses: readonly number[]): Made {
  return { bytes, verdict: VERDICT.REFUSED, seen: [], statuses: statuses.length === 0 ? [400] : statuses }
}

/** Read as `seen`. */
export function read(bytes: string, ...seen: readonly string[]): Made {
  return { bytes, verdict: VERDICT.READ, seen, statuses: [200] }
}

/** Answered by the gateway itself with one of `statuses`; what follows is a request by itself. */
export function answered(bytes: string, ...statuses: readonly number[]): Made {
  return { bytes, verdict: VERDICT.READ, seen: [], statuses }
}

/** Read as `seen`, and closed. @param statuses of the answer, where that is not the service's */
export function closed(bytes: string, seen: readonly string[], ...statuses: readonly number[]): Made {
  return { bytes, verdict: VERDICT.CLOSED, seen, statuses: statuses.length === 0 ? [200] : statuses }
}

/** Not complete. */
export function awaited(bytes: string): Made {
  return { bytes, verdict: VERDICT.AWAITED, seen: [], statuses: [400] }
}

/** A family's vectors, by their names. */
export function family(number: number, vectors: Readonly<Record<string, Made>>): RequestVector[] {
  return Object.entries(vectors).map(([name, made]) => ({ family: number, name, ...made }))
}
