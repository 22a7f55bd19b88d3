// What was found on the host: one line each, with what to do about it.

/** `doubt`: it works, but may not be as it is meant. */
export type Verdict = 'ok' | 'doubt' | 'bad'

export interface Finding {
  /** What was looked at, in a word or two. */
  readonly subject: string
  readonly verdict: Verdict
  readonly text: string
  /** A command, or what to change; absent when there is nothing to do. */
  readonly remedy?: string
}

export function ok(subject: string, text: string): Finding {
  return { subject, verdict: 'ok', text }
}

export function doubt(subject: string, text: string, remedy?: string): Finding {
  return { subject, verdict: 'doubt', text, ...(remedy !== undefined && { remedy }) }
}

export function bad(subject: string, text: string, remedy?: string): Finding {
  return { subject, verdict: 'bad', text, ...(remedy !== undefined && { remedy }) }
}

/** Lines for people: a finding each, and its remedy below. */
export function findingLines(findings: readonly Finding[]): string[] {
  const width = Math.max(0, ...findings.map(({ subject }) => subject.length))
  return findings.flatMap(({ subject, verdict, text, remedy }) => {
    const line = `${verdict.padEnd(5)}  ${subject.padEnd(width)}  ${text}`
    return remedy === undefined ? [line] : [line, `${' '.repeat(width + 9)}try: ${remedy}`]
  })
}
