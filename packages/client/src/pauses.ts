// What is between two tries.

/** Pauses before something is sent again of which nothing came, in milliseconds. */
export const PAUSES_MS: readonly number[] = [100, 400]

/** @throws the reason of `signal` when it aborts meanwhile */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms)
    function done(): void {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      if (signal?.aborted === true) reject(signal.reason)
      else resolve()
    }
    signal?.addEventListener('abort', done)
  })
}
