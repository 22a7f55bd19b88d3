// What can go wrong between a program and a service.

/** What an error says beside its text. */
export interface GatewayErrorFields {
  /** HTTP status of the answer; null when there was none. */
  readonly status?: number | null
  readonly service?: string | null
  /** Names the request in the gateway's log; null when nothing was answered. */
  readonly requestId?: string | null
  /** Whether the same may succeed later. A request that changes something may have been carried out all the same. */
  readonly retryable?: boolean
  /** The answer, whose body is not read: what the service says of it. */
  readonly response?: Response | null
  readonly cause?: unknown
}

/**
 * A call did not succeed. No field holds a session id or a password.
 *
 * `code` is stable. The gateway's own codes (`session-invalid`, `role-insufficient`, `service-unknown`, `service-died`, …) are in its
 * documentation (HTTP, refusals). A service's own answers are `status-404` and so on. Beside them:
 *
 * - `unreachable`: no connection, or it broke before an answer came
 * - `certificate-unknown`: the gateway's certificate is not trusted; in Node.js `NODE_EXTRA_CA_CERTS` names a file with the one to trust
 * - `sign-in-refused`: wrong user or password
 * - `session-ended`: the session is over, and nobody can sign in anew, or a stream was half sent
 * - `redirect-refused`: the answer leads to a host that is not of the pool, or from https to http
 * - `redirect-loop`: hosts of the pool send the client to and fro
 * - `service-moved`: the service went to another host while a stream was on its way to it
 * - `xenapi-failed`: a call of the XenAPI failed; the text has its code
 */
export class GatewayError extends Error {
  override readonly name = 'GatewayError'
  readonly code: string
  readonly status: number | null
  readonly service: string | null
  readonly requestId: string | null
  readonly retryable: boolean
  readonly response: Response | null

  constructor(code: string, message: string, fields: GatewayErrorFields = {}) {
    super(message, 'cause' in fields ? { cause: fields.cause } : undefined)
    this.code = code
    this.status = fields.status ?? null
    this.service = fields.service ?? null
    this.requestId = fields.requestId ?? null
    this.retryable = fields.retryable ?? false
    this.response = fields.response ?? null
  }
}

/** The code of an answer that the gateway gave itself (RFC 9209); undefined when it is the service's. */
export function refusalCode(response: Response): string | undefined {
  return /(?:^|,\s*)xengate;(?:[^,]*;)?\s*details="([a-z-]+)"/.exec(response.headers.get('proxy-status') ?? '')?.[1]
}

/** Statuses after which the same may succeed. */
const LATER: ReadonlySet<number> = new Set([408, 425, 429, 502, 503, 504])
/** What is read of a refusal's text. */
const TEXT_MAX = 500

/** What an answer that is no success is as an error. */
export async function errorOf(response: Response, service: string): Promise<GatewayError> {
  const { status } = response
  const code = refusalCode(response)
  const fields = { status, service, requestId: response.headers.get('x-request-id'), retryable: LATER.has(status) }
  if (code === undefined) {
    const text = `${service} answers ${status}${response.statusText === '' ? '' : ` ${response.statusText}`}`
    return new GatewayError(`status-${status}`, text, { ...fields, response })
  }
  const text = (await response.text().catch(() => '')).slice(0, TEXT_MAX).trim()
  return new GatewayError(code, text === '' ? `the gateway answers ${status}` : text, fields)
}
