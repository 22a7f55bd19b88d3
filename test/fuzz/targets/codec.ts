// The codec, in both directions. Cuts change nothing; what it accepts, Node.js, a strict reader of another make and, where they are
// there, Python's h11 and Go's net/http read as the same messages.

import assert from 'node:assert/strict'
import { compare } from '../../../packages/http1/src/testing/compare.ts'
import { readMessages } from '../../../packages/http1/src/testing/read-messages.ts'
import { readRequests, readResponses } from '../../desync/strict.ts'
import { VECTORS } from '../../desync/vectors.ts'
import { RESPONSE_VECTORS } from '../../desync/vectors-responses.ts'
import { cuts, mutate } from '../mutate.ts'
import type { Target } from '../target.ts'
import { startOtherReaders } from './other-readers.ts'

/** The reader that the tests have takes heads of no more. */
const BYTES_MAX = 1000
const PLAIN = 'GET /services/plugin/svc HTTP/1.1\r\nHost: h\r\n\r\n'
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc'
const REQUESTS: readonly [string, ...string[]] = [
  PLAIN,
  ...VECTORS.map(({ bytes }) => bytes).filter((bytes) => bytes.length < BYTES_MAX),
]
const RESPONSES: readonly [string, ...string[]] = [
  ANSWER,
  ...RESPONSE_VECTORS.map(({ bytes }) => bytes).filter((bytes) => bytes.length < BYTES_MAX),
]

export const CODEC: Target = {
  name: 'codec',
  start(t) {
    let accepted = 0
    const others = startOtherReaders(t)
    return {
      make: (random) => {
        const isRequests = random.isSo(0.6)
        const corpus = isRequests ? REQUESTS : RESPONSES
        const bytes = random.pick(corpus) + (random.isSo(0.5) ? random.pick(corpus) : '')
        const text = random.isSo(0.1) ? bytes : mutate(random, bytes, corpus)
        return { direction: isRequests ? 'requests' : 'responses', text, cuts: cuts(random, text.length, 6) }
      },
      attempt: async ({ direction, text, cuts: places }) => {
        const which = direction === 'requests' ? 'requests' : 'responses'
        const bytes = String(text)
        const whole = readMessages(which, bytes)
        assert.deepEqual(readMessages(which, bytes, places as readonly number[]), whole, 'cuts change what is read')
        accepted += compare(which, bytes)
        compareStrictly(which, bytes)
        if (which === 'requests') for (const other of others) await other.compare(bytes, whole)
      },
      finish: () =>
        [`${accepted} messages accepted`, ...others.map(({ name, count }) => `${name} agreed on ${count}`)].join(', '),
    }
  },
}

/** The strict reader knows no extensions and no empty line in front, and stops where a connection ends. */
function compareStrictly(direction: 'requests' | 'responses', text: string): void {
  const ours = readMessages(direction, text).messages
  const theirs = direction === 'requests' ? readRequests(text) : readResponses(text, [], false)
  for (const [index, { startLine, body, isComplete, isPersistent, fields }] of ours.entries()) {
    const their = theirs.messages[index]
    if (!isComplete || their === undefined) break
    const isSame =
      direction === 'requests' ? their.startLine.startsWith(startLine) : their.startLine.includes(startLine.trimEnd())
    assert.ok(isSame, `${startLine} and ${their.startLine}`)
    assert.equal(their.body, body)
    assert.deepEqual(
      their.fields,
      fields.map(([name, value]) => [name.toLowerCase(), value]),
    )
    if (!isPersistent) break
  }
}
