// A reading of HTTP/1.1 that shares nothing with the codec's: regular expressions over whole messages, strict in every point. What goes
// through the gateway has to be read here without an error.

/** A message as it was read. */
export interface StrictMessage {
  /** The request line, or the status line. */
  readonly startLine: string
  /** Names in lower case. */
  readonly fields: readonly (readonly [string, string])[]
  readonly body: string
  /** Whether the body ends with the connection. */
  readonly isOpenEnded: boolean
}

/** What was read of a stream. */
export interface StrictReading {
  readonly messages: readonly StrictMessage[]
  /** The beginning of a message that has not come whole. */
  readonly rest: string
  /** Why what follows is no message; null when nothing is wrong. */
  readonly error: string | null
}

const REQUEST_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP\/1\.[01]$/
const STATUS_LINE = /^HTTP\/1\.[01] [1-5][0-9][0-9](?: [\t\x20-\x7e\x80-\xff]*)?$/
const FIELD =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*$/
const CHUNK = /^([0-9A-Fa-f]{1,13})\r\n/

/** Thrown where a message is wrong, and caught where it is read. */
class Wrong extends Error {}

/** Reads requests. */
export function readRequests(text: string): StrictReading {
  return readAll(text, (startLine, fields) => {
    if (!REQUEST_LINE.test(startLine)) throw new Wrong(`request line ${JSON.stringify(startLine)}`)
    return frameOf(fields) ?? 0
  })
}

/** Reads responses to requests with these methods, in their order. @param hasEnded whether the connection has ended behind `text` */
export function readResponses(text: string, methods: readonly string[], hasEnded: boolean): StrictReading {
  let index = 0
  return readAll(text, (startLine, fields) => {
    if (!STATUS_LINE.test(startLine)) throw new Wrong(`status line ${JSON.stringify(startLine)}`)
    const status = Number(startLine.slice(9, 12))
    const frame = frameOf(fields)
    if (status < 200) return 0
    const method = methods[index++]
    if (method === 'HEAD' || status === 204 || status === 304) return 0
    return frame ?? (hasEnded ? 'ended' : 'open')
  })
}

type Frame = number | 'chunked' | 'open' | 'ended'

function readAll(text: string, frame: (startLine: string, fields: StrictMessage['fields']) => Frame): StrictReading {
  const messages: StrictMessage[] = []
  let at = 0
  try {
    while (at < text.length) {
      const headEnd = text.indexOf('\r\n\r\n', at)
      if (headEnd === -1) break
      const [startLine = '', ...lines] = text.slice(at, headEnd).split('\r\n')
      const fields = lines.map(fieldOf)
      const body = bodyAt(text, headEnd + 4, frame(startLine, fields))
      if (body === null) break
      messages.push({ startLine, fields, body: body.content, isOpenEnded: body.isOpenEnded })
      at = body.end
    }
    return { messages, rest: text.slice(at), error: null }
  } catch (error) {
    if (!(error instanceof Wrong)) throw error
    return { messages, rest: text.slice(at), error: error.message }
  }
}

function fieldOf(line: string): readonly [string, string] {
  const match = FIELD.exec(line)
  if (match === null) throw new Wrong(`field ${JSON.stringify(line)}`)
  return [(match[1] ?? '').toLowerCase(), match[2] ?? '']
}

/** How the body ends, by the fields; null when they do not say. */
function frameOf(fields: StrictMessage['fields']): Frame | null {
  const lengths = valuesOf(fields, 'content-length')
  const codings = valuesOf(fields, 'transfer-encoding')
  if (lengths.length + codings.length > 1) throw new Wrong('two fields frame the body')
  if (codings.length === 1) {
    if (codings[0]?.toLowerCase() !== 'chunked') throw new Wrong(`coding ${codings[0]}`)
    return 'chunked'
  }
  if (lengths.length === 0) return null
  if (!/^[0-9]+$/.test(lengths[0] ?? '')) throw new Wrong(`length ${lengths[0]}`)
  return Number(lengths[0])
}

/** Values of every field of this name. */
export function valuesOf(fields: StrictMessage['fields'], name: string): string[] {
  return fields.filter(([is]) => is === name).map(([, value]) => value)
}

interface Body {
  readonly content: string
  readonly end: number
  readonly isOpenEnded: boolean
}

function bodyAt(text: string, from: number, frame: Frame): Body | null {
  if (frame === 'open') return null
  if (frame === 'ended') return { content: text.slice(from), end: text.length, isOpenEnded: true }
  if (frame === 'chunked') return chunksAt(text, from)
  const end = from + frame
  return end > text.length ? null : { content: text.slice(from, end), end, isOpenEnded: false }
}

function chunksAt(text: string, from: number): Body | null {
  let content = ''
  let at = from
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at)
    if (lineEnd === -1) return null
    const size = CHUNK.exec(text.slice(at, lineEnd + 2))
    if (size === null) throw new Wrong(`chunk size ${JSON.stringify(text.slice(at, lineEnd))}`)
    const bytes = Number.parseInt(size[1] ?? '', 16)
    at = lineEnd + 2
    if (bytes === 0) return trailersAt(text, at, content)
    if (at + bytes + 2 > text.length) return null
    content += text.slice(at, at + bytes)
    at += bytes
    if (!text.startsWith('\r\n', at)) throw new Wrong('no CRLF behind a chunk')
    at += 2
  }
}

function trailersAt(text: string, from: number, content: string): Body | null {
  let at = from
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at)
    if (lineEnd === -1) return null
    if (lineEnd === at) return { content, end: at + 2, isOpenEnded: false }
    const [name] = fieldOf(text.slice(at, lineEnd))
    if (
      /^(?:content-length|transfer-encoding|host|connection|cookie|x-xen-session-(?:user|subject|roles|originator)|x-forwarded-(?:for|proto|host))$/.test(
        name,
      )
    ) {
      throw new Wrong(`trailer ${name}`)
    }
    at = lineEnd + 2
  }
}
