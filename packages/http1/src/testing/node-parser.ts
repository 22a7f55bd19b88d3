// Node.js's own HTTP parser (llhttp), as another reading of the same bytes.

import { createRequire } from 'node:module'

/** One message as Node.js understands it. */
export interface NodeMessage {
  startLine: string
  minorVersion: number
  fields: [string, string][]
  shouldKeepAlive: boolean
  body: string
  isComplete: boolean
}

type Callback = (...values: never[]) => unknown

interface NodeParser {
  initialize(type: number, resource: object): void
  execute(bytes: Buffer): number | Error
  [callback: number]: Callback | undefined
}

interface NodeParserClass {
  new (): NodeParser
  readonly REQUEST: number
  readonly RESPONSE: number
  readonly kOnHeaders: number
  readonly kOnHeadersComplete: number
  readonly kOnBody: number
  readonly kOnMessageComplete: number
}

const { HTTPParser, methods } = createRequire(import.meta.url)('_http_common') as {
  HTTPParser: NodeParserClass
  methods: readonly string[]
}

/** Reads `text`, one byte a character, in one piece. */
export function readWithNode(
  direction: 'requests' | 'responses',
  text: string,
): { messages: NodeMessage[]; error: string | null } {
  const messages: NodeMessage[] = []
  // What comes before the head is complete (many fields), and trailers; with it comes the target, once.
  const early: string[] = []
  let earlyTarget: string | undefined
  const parser = new HTTPParser()
  parser.initialize(direction === 'requests' ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {})
  parser[HTTPParser.kOnHeaders] = (raw: string[], target: string) => {
    early.push(...raw)
    earlyTarget = target
  }
  parser[HTTPParser.kOnHeadersComplete] = (
    _major: number,
    minor: number,
    raw: string[] | undefined,
    method: number,
    target: string | undefined,
    status: number,
    phrase: string,
    _upgrade: boolean,
    shouldKeepAlive: boolean,
  ) => {
    messages.push({
      startLine: direction === 'requests' ? `${methods[method]} ${target ?? earlyTarget}` : `${status} ${phrase}`,
      minorVersion: minor,
      fields: pairs([...early.splice(0), ...(raw ?? [])]),
      shouldKeepAlive,
      body: '',
      isComplete: false,
    })
    return 0
  }
  parser[HTTPParser.kOnBody] = (bytes: Buffer) => {
    const last = messages.at(-1)
    if (last !== undefined) last.body += bytes.toString('latin1')
  }
  parser[HTTPParser.kOnMessageComplete] = () => {
    const last = messages.at(-1)
    if (last !== undefined) last.isComplete = true
    early.splice(0)
  }
  const result = parser.execute(Buffer.from(text, 'latin1'))
  return {
    messages,
    error: result instanceof Error ? ((result as NodeJS.ErrnoException).code ?? result.message) : null,
  }
}

function pairs(raw: readonly string[]): [string, string][] {
  const fields: [string, string][] = []
  for (let index = 0; index + 1 < raw.length; index += 2) fields.push([raw[index] ?? '', raw[index + 1] ?? ''])
  return fields
}
