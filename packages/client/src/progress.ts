// Bodies that are counted as they pass.

/** How far a body has come. */
export interface Progress {
  readonly direction: 'up' | 'down'
  /** Bytes that have passed. */
  readonly bytes: number
  /** Bytes in all; undefined when that is not known. */
  readonly total: number | undefined
}

export type OnProgress = (progress: Progress) => void

/** The same stream, which tells how much of it has passed. */
export function counted(
  stream: ReadableStream<Uint8Array>,
  direction: Progress['direction'],
  total: number | undefined,
  onProgress: OnProgress,
): ReadableStream<Uint8Array> {
  let bytes = 0
  return stream.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength
        controller.enqueue(chunk)
        onProgress({ direction, bytes, total })
      },
    }),
  )
}

/** The same response, whose body tells how much of it has come. */
export function countedResponse(response: Response, onProgress: OnProgress): Response {
  if (response.body === null) return response
  const length = response.headers.get('content-length')
  // What is decoded has another length than what was sent.
  const total = length === null || response.headers.has('content-encoding') ? undefined : Number(length)
  const { status, statusText, headers } = response
  return new Response(counted(response.body, 'down', total, onProgress), { status, statusText, headers })
}
