// Log lines that are too long to be written in one piece: their texts are cut until they fit.

/** Bytes of the longest line, with its line break: what follows 2 KiB older journals of systemd cut off, and what they write before a line counts. */
export const LINE_BYTES_MAX = 2000

const TEXT_LENGTHS = [512, 128, 32, 0] as const

/** Of a list in a line that is too long, as many are kept. */
const LIST_LENGTH_MAX = 10

/**
 * The line as it is when it fits; else the same record with its long texts and lists cut, and `shortened` with the bytes that it
 * had. A record that does not fit even so keeps its level, time, process and event.
 *
 * @param line a JSON object and a line break.
 */
export function shortenLine(line: string): string {
  if (line.length <= LINE_BYTES_MAX / 3 || Buffer.byteLength(line) <= LINE_BYTES_MAX) return line
  const shortened = Buffer.byteLength(line)
  const record: Record<string, unknown> = JSON.parse(line)
  for (const length of TEXT_LENGTHS) {
    const cut = cutTexts(record, length)
    const shorter = `${JSON.stringify({ ...cut, shortened })}\n`
    if (Buffer.byteLength(shorter) <= LINE_BYTES_MAX) return shorter
  }
  const { level, time, pid } = record
  const event = String(record['event']).slice(0, 100)
  return `${JSON.stringify({ level, time, pid, event, shortened })}\n`
}

function cutTexts(record: Readonly<Record<string, unknown>>, length: number): Record<string, unknown> {
  const text = JSON.stringify(record, (_key, value: unknown) => {
    if (Array.isArray(value) && value.length > LIST_LENGTH_MAX) {
      return [...value.slice(0, LIST_LENGTH_MAX), `… ${value.length} in all`]
    }
    return typeof value === 'string' && value.length > Math.max(length, 40) ? `${value.slice(0, length)}…` : value
  })
  return JSON.parse(text) as Record<string, unknown>
}
