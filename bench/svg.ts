// What plots are made of.

export const INK = '#333'
export const PALE = '#dbdee4'
/** Grid lines at most. */
const STEPS_MAX = 7

/** 1, 2 or 5 times a power of ten, so that there are not more than `stepsMax` of them up to `max`. */
export function stepOf(max: number, stepsMax: number = STEPS_MAX): number {
  if (max <= 0) return 1
  const power = 10 ** Math.floor(Math.log10(max / stepsMax))
  return power * ([1, 2, 5].find((factor) => factor * power * stepsMax >= max) ?? 10)
}

/** A line from one point to the other. */
export function line(x1: number, y1: number, x2: number, y2: number, stroke: string): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${stroke}" stroke-width="1.5"/>`
}

/** Words that begin at a point, unless `more` says otherwise. @param more further attributes */
export function text(x: number, y: number, content: string, more = ''): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${x}" y="${y}" fill="${INK}" ${more}>${escaped}</text>`
}
