// Waiting for something to happen, with a limit.

/** How long anything is waited for unless a test says otherwise, in milliseconds. */
export const DEADLINE_MS = 20_000

/** Pause between looks at a condition that announces itself by nothing. */
const LOOK_AGAIN_MS = 10

/** Resolves as `promise` does. @throws when that takes longer than `ms`; `what` says what was waited for */
export async function within<Value>(promise: Promise<Value>, what: string, ms: number = DEADLINE_MS): Promise<Value> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms)
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Looks until `look` finds something. @throws when that takes longer than `ms` */
export async function until<Found>(
  look: () => Found | undefined | false | Promise<Found | undefined | false>,
  what: string,
  ms: number = DEADLINE_MS,
): Promise<Found> {
  const lastMs = performance.now() + ms
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (performance.now() > lastMs) throw new Error(`waited ${ms} ms for ${what}`)
    await new Promise((resolve) => {
      setTimeout(resolve, LOOK_AGAIN_MS)
    })
  }
}
