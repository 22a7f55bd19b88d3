import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeAccepted, encodeRefused, encodeUsage, LINE_BYTES_MAX, type Report, ReportReader } from './reports.ts'

function read(...chunks: readonly string[]): readonly Report[] {
  const reader = new ReportReader()
  return chunks.flatMap((chunk) => reader.write(Buffer.from(chunk)))
}

const USAGE = encodeUsage(3, 1234, 2 ** 53 - 1)
const READ_USAGE: Report = { kind: 'usage', requests: 3, bytesIn: 1234, bytesOut: 2 ** 53 - 1 }

test('what is encoded is read, cut anywhere', () => {
  const text = Buffer.from(encodeAccepted() + USAGE + USAGE)
  for (let cut = 0; cut <= text.length; cut++) {
    const reader = new ReportReader()
    const reports = [...reader.write(text.subarray(0, cut)), ...reader.write(text.subarray(cut))]
    assert.deepEqual(reports, [{ kind: 'accepted' }, READ_USAGE, READ_USAGE], `cut after ${cut}`)
  }
})

test('a chunk that is used again after it was given changes nothing', () => {
  const reader = new ReportReader()
  const chunk = Buffer.from('{"accepted":')
  assert.deepEqual(reader.write(chunk), [])
  chunk.fill('x')
  assert.deepEqual(reader.write(Buffer.from('true}\n')), [{ kind: 'accepted' }])
})

test('one that goes on after the first line was read elsewhere reads use, and knows whether a line has begun', () => {
  const reader = new ReportReader(true)
  assert.equal(reader.isWithinLine, false)
  assert.deepEqual(reader.write(Buffer.from(USAGE.slice(0, 5))), [])
  assert.equal(reader.isWithinLine, true)
  assert.deepEqual(reader.write(Buffer.from(USAGE.slice(5))), [READ_USAGE])
  assert.equal(reader.isWithinLine, false)
  assert.equal(new ReportReader(true).write(Buffer.from(encodeAccepted()))[0]?.kind, 'invalid')
})

test('a refusal is the last that is read', () => {
  assert.deepEqual(read(encodeRefused('no "room"\n') + USAGE), [{ kind: 'refused', why: 'no "room"\n' }])
  assert.ok(encodeRefused('\u0001'.repeat(100_000)).length < LINE_BYTES_MAX)
})

test('what is out of turn, or not known, is invalid, and the last', () => {
  const reasons: readonly (readonly [text: string, reason: string])[] = [
    [USAGE, '"usage" is out of turn'],
    [encodeAccepted() + encodeAccepted(), '"accepted" is out of turn'],
    [encodeAccepted() + encodeRefused('x'), '"refused" is out of turn'],
    ['x\n', 'a line is not JSON'],
    ['7\n', 'a line is not a JSON object'],
    ['{"accepted":false}\n', 'a line is neither "accepted", "refused" nor usage'],
    [
      `${encodeAccepted()}{"requests":-1,"bytesIn":0,"bytesOut":0}\n`,
      'a line is neither "accepted", "refused" nor usage',
    ],
  ]
  for (const [text, reason] of reasons) {
    assert.deepEqual(read(text, USAGE).at(-1), { kind: 'invalid', reason })
  }
})

test('a line without an end is bounded', () => {
  const reader = new ReportReader()
  assert.deepEqual(reader.write(Buffer.alloc(LINE_BYTES_MAX, ' ')), [])
  const [report] = reader.write(Buffer.from(' '))
  assert.deepEqual(report, { kind: 'invalid', reason: 'a line is longer than 4096 bytes' })
  assert.deepEqual(reader.write(Buffer.from(encodeAccepted())), [])
})
