// Durations as operators write them: a whole number and one unit.

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** What a duration looks like: `250ms`, `10s`, `5m`, `24h`. */
export const DURATION_PATTERN: RegExp = /^[0-9]{1,9}(?:ms|s|m|h)$/

/**
 * Milliseconds of a duration such as `10s`.
 *
 * @returns `undefined` when `text` is not a duration.
 */
export function parseDuration(text: string): number | undefined {
  if (!DURATION_PATTERN.test(text)) return undefined
  const digits = Number.parseInt(text, 10)
  const unitMs = UNIT_MS[text.slice(text.search(/[a-z]/))]
  return unitMs === undefined ? undefined : digits * unitMs
}

/** The shortest way to write `ms` milliseconds: `90000` is `90s`, `3600000` is `1h`. */
export function formatDuration(ms: number): string {
  for (const unit of ['h', 'm', 's']) {
    const unitMs = UNIT_MS[unit] ?? 1
    if (ms !== 0 && ms % unitMs === 0) return `${ms / unitMs}${unit}`
  }
  return `${ms}ms`
}
