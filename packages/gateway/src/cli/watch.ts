// What is shown again and again, until nobody reads it any more.

import type { Io } from './io.ts'

/** How often. */
const WATCH_MS = 2000
/** Takes a terminal's cursor to the top, and all that is below it away. */
const CLEAR = '\u001B[H\u001B[2J'

/** Shows something once, or as long as somebody reads. @returns what `show` returned last */
export async function repeatedly(isWatched: boolean, io: Io, show: () => Promise<number>): Promise<number> {
  if (!isWatched) return show()
  const stopped = stopOf(io)
  for (;;) {
    if (io.stdout.isTTY === true) io.stdout.write(CLEAR)
    const code = await show()
    if (stopped.aborted) return code
    await pause(WATCH_MS, stopped)
  }
}

/** Aborts when nobody reads any more. */
export function stopOf(io: Io): AbortSignal {
  const stopped = new AbortController()
  for (const event of ['error', 'close']) io.stdout.once(event, () => stopped.abort())
  return stopped.signal
}

function pause(ms: number, stopped: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  stopped.addEventListener(
    'abort',
    () => {
      clearTimeout(timer)
      resolve()
    },
    { once: true },
  )
  return promise
}
