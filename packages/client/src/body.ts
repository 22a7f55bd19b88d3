// What is sent: anything that fetch takes, and whatever gives bytes as they come.

import { counted, type OnProgress } from './progress.ts'

/** A body. Of the last two each byte is there once: such a request is never sent again. */
export type Body =
  | string
  | Blob
  | ArrayBuffer
  | Uint8Array<ArrayBuffer>
  | FormData
  | URLSearchParams
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>

/** How fetch is given a body. */
export interface SentBody {
  readonly body: NonNullable<RequestInit['body']>
  readonly duplex?: 'half'
}

/** Whether the body is there only once. */
export function isStream(body: Body | undefined): body is ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> {
  return typeof body === 'object' && (body instanceof ReadableStream || Symbol.asyncIterator in body)
}

/** All of a stream, in memory. */
export function collected(body: ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Blob> {
  return new Response(readable(body)).blob()
}

/**
 * The body for one request.
 * @param size of a stream, in bytes, where the caller knows it
 */
export function sentBody(body: Body, size: number | undefined, onProgress: OnProgress | undefined): SentBody {
  if (isStream(body)) {
    const stream = readable(body)
    return { body: onProgress === undefined ? stream : counted(stream, 'up', size, onProgress), duplex: 'half' }
  }
  if (onProgress === undefined || body instanceof FormData || body instanceof URLSearchParams) return { body }
  const blob = body instanceof Blob ? body : new Blob([body])
  return { body: counted(blob.stream(), 'up', blob.size, onProgress), duplex: 'half' }
}

/** Content-Type that fetch would say by itself, and does not once the body is a stream. */
export function typeOf(body: Body | undefined): string | null {
  if (typeof body === 'string') return 'text/plain;charset=UTF-8'
  return body instanceof Blob && body.type !== '' ? body.type : null
}

/** Bytes of the body, where they are known. */
export function sizeOf(body: Body | undefined): number | undefined {
  if (typeof body === 'string') return new TextEncoder().encode(body).byteLength
  if (body instanceof Blob) return body.size
  return body instanceof ArrayBuffer || ArrayBuffer.isView(body) ? body.byteLength : undefined
}

function readable(body: ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  if (body instanceof ReadableStream) return body
  const iterator = body[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await iterator.next()
      if (next.done === true) controller.close()
      else controller.enqueue(next.value)
    },
    async cancel(reason) {
      await iterator.return?.(reason)
    },
  })
}
