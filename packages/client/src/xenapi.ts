// Calls of the XenAPI, by JSON-RPC 2.0.

import { GatewayError } from './errors.ts'

/** `fetch`, or what stands for it. */
export type Transport = (url: string, init: RequestInit) => Promise<Response>

interface Answer {
  readonly result?: unknown
  readonly error?: { readonly message?: string; readonly data?: unknown }
}

/** A call failed: by which code of the XenAPI, and its parameters, which may be secret. */
export class XenApiFailure extends Error {
  readonly code: string
  readonly parameters: readonly unknown[]

  constructor(code: string, parameters: readonly unknown[]) {
    super(code)
    this.code = code
    this.parameters = parameters
  }
}

/**
 * Calls `method` at the host of `origin`.
 * @throws {XenApiFailure} @throws {GatewayError} `unreachable`, or what the answer is
 */
export async function xenApi(
  transport: Transport,
  origin: string,
  method: string,
  params: readonly unknown[],
  signal?: AbortSignal | null,
): Promise<unknown> {
  const response = await reached(transport, `${origin}/jsonrpc`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    signal: signal ?? null,
    // A password is sent to nobody else.
    redirect: 'manual',
  })
  const text = await response.text()
  if (!response.ok) {
    const { status } = response
    const requestId = response.headers.get('x-request-id')
    // A sentence of the gateway's own, such as that this port speaks HTTPS; nothing else is one printable line.
    const said = /^[ -~]{1,300}$/.exec(text.trim())?.[0]
    throw new GatewayError('xenapi-failed', `${method}: the host answers ${status}${said ? `: ${said}` : ''}`, {
      status,
      requestId,
      retryable: status >= 500,
    })
  }
  let answer: Answer | null = null
  try {
    answer = JSON.parse(text) as Answer
  } catch {
    // It is none, as below.
  }
  if (answer?.error !== undefined) {
    const { message = '', data } = answer.error
    throw new XenApiFailure(message, Array.isArray(data) ? data : [])
  }
  if (answer === null || !('result' in answer)) throw new GatewayError('xenapi-failed', `${method}: no XenAPI is there`)
  return answer.result
}

/** The failure as callers see it: without its parameters, of which one may be a session. */
export function failed(method: string, error: unknown): unknown {
  if (!(error instanceof XenApiFailure)) return error
  return new GatewayError('xenapi-failed', `${method} fails with ${error.code}`)
}

/** Fetches. @throws {GatewayError} `unreachable`; what aborts it is thrown as it is */
export async function reached(
  transport: Transport,
  url: string,
  init: RequestInit,
  service: string | null = null,
): Promise<Response> {
  try {
    return await transport(url, init)
  } catch (cause) {
    if (init.signal?.aborted === true) throw cause
    const { host } = new URL(url)
    const reason = reasonOf(cause)
    if (UNTRUSTED.test(reason)) {
      throw new GatewayError('certificate-unknown', `the certificate of ${host} is not trusted: ${reason}`, {
        service,
        cause,
      })
    }
    const because = reason === '' ? '' : `: ${reason}`
    throw new GatewayError('unreachable', `${host} cannot be reached${because}`, { service, retryable: true, cause })
  }
}

/** OpenSSL's and Node.js's words for a certificate that nobody vouches for, is over, or is another host's. */
const UNTRUSTED = /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS/

/** The system's word for it, where there is one: fetch itself says only that it failed. */
function reasonOf(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ('code' in cause && typeof cause.code === 'string') return cause.code
  }
  return ''
}
