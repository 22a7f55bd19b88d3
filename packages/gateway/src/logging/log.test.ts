import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { openSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type AccessFields, accessJson, accessLine } from './access.ts'
import { type Log, type LogFormat, createLog, logFormatFor } from './log.ts'
import { LINE_BYTES_MAX, shortenLine } from './long-lines.ts'

// Each test has a log of its own, which writes at exit what is left.
process.setMaxListeners(0)

const WRITER = fileURLToPath(new URL('testing/writer.ts', import.meta.url))

interface Line {
  readonly [field: string]: unknown
}

/** The lines that a log wrote when `use` is done with it. */
async function linesOf(use: (log: Log) => void): Promise<Line[]> {
  return linesIn(await textOf(use, 'json'))
}

async function textOf(use: (log: Log) => void, format: LogFormat): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'xengate-log-'))
  const path = join(directory, 'log')
  const fd = openSync(path, 'a')
  const log = createLog({ level: 'info', format, fd })
  use(log)
  const { promise, resolve } = Promise.withResolvers<void>()
  log.flush(resolve)
  await promise
  const written = readFileSync(path, 'utf8')
  // The descriptor stays open: a log has no end, and may still flush.
  await rm(directory, { recursive: true })
  return written
}

function linesIn(written: string): Line[] {
  assert.ok(written.endsWith('\n'))
  return written
    .trimEnd()
    .split('\n')
    .map((line): Line => JSON.parse(line))
}

describe('a log', { timeout: 300_000 }, () => {
  test('processes that share a pipe never mix their lines', async () => {
    const count = 2000
    const run = `"$0" "$1" a ${count} & "$0" "$1" b ${count} & wait`
    const child = spawn('/bin/sh', ['-c', run, process.execPath, WRITER], { stdio: ['ignore', 'pipe', 'inherit'] })
    const written = await text(child.stdout)
    for (const line of written.split('\n')) assert.ok(Buffer.byteLength(line) < LINE_BYTES_MAX)
    const lines = linesIn(written)
    for (const name of ['a', 'b']) {
      const own = lines.filter((line) => line['name'] === name)
      assert.deepEqual(
        own.map((line) => line['index']),
        Array.from({ length: count }, (_, index) => index),
      )
      assert.ok(own.every((line) => new RegExp(`^${name}*…?$`).test(String(line['text']))))
    }
  })

  test('an event is one JSON line with time, level, process and its fields', async () => {
    const [line, ...others] = await linesOf((log) => {
      log.info({ event: 'worker-started', worker: 3 })
      log.debug({ event: 'unseen' })
    })
    assert.deepEqual(others, [])
    assert.match(String(line?.['time']), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
    assert.deepEqual(
      { ...line, time: '' },
      { level: 'info', time: '', pid: process.pid, event: 'worker-started', worker: 3 },
    )
  })

  test('an error is logged with its type, code and text', async () => {
    const [line] = await linesOf((log) => {
      log.error({ event: 'failed', error: Object.assign(new RangeError('too far'), { code: 'FAR' }) })
    })
    assert.deepEqual(
      { ...Object(line?.['error']), stack: '' },
      { type: 'RangeError', message: 'too far', code: 'FAR', stack: '' },
    )
  })

  test('the level can be changed while it runs', async () => {
    const lines = await linesOf((log) => {
      log.level = 'debug'
      log.debug({ event: 'seen' })
    })
    assert.deepEqual(
      lines.map((line) => line['event']),
      ['seen'],
    )
  })

  test('a terminal gets lines for people, anything else JSON, and NO_COLOR is honoured', () => {
    assert.equal(logFormatFor({}, {}), 'json')
    assert.equal(logFormatFor({ isTTY: false }, {}), 'json')
    assert.equal(logFormatFor({ isTTY: true }, {}), 'colour')
    assert.equal(logFormatFor({ isTTY: true }, { NO_COLOR: '1' }), 'plain')
  })
})

describe('a line that is too long', () => {
  const head = { level: 'info', time: 't', pid: 1, event: 'e' }

  test('keeps its short fields and the beginning of its texts', () => {
    const line = `${JSON.stringify({ ...head, status: 200, path: '/'.repeat(9000), err: { stack: 'é'.repeat(9000) } })}\n`
    const shorter = shortenLine(line)
    assert.ok(Buffer.byteLength(shorter) <= LINE_BYTES_MAX && shorter.endsWith('\n'))
    assert.deepEqual(JSON.parse(shorter), {
      ...head,
      status: 200,
      path: `${'/'.repeat(512)}…`,
      err: { stack: `${'é'.repeat(512)}…` },
      shortened: Buffer.byteLength(line),
    })
  })

  test('keeps what names it when nothing else helps', () => {
    const keys = Array.from({ length: 500 }, (_, index) => [`key-${index}`, index])
    const line = `${JSON.stringify({ ...head, ...Object.fromEntries(keys) })}\n`
    assert.deepEqual(JSON.parse(shortenLine(line)), { ...head, shortened: line.length })
  })

  test('keeps the beginning of a list, and how long it was', () => {
    const many = Array.from({ length: 5000 }, (_, index) => index)
    const line = `${JSON.stringify({ ...head, many, uid: 0 })}\n`
    const kept = [...many.slice(0, 10), '… 5000 in all']
    assert.deepEqual(JSON.parse(shortenLine(line)), { ...head, many: kept, uid: 0, shortened: line.length })
  })

  test('of the most bytes is left as it is', () => {
    const frame = `${JSON.stringify({ x: '' })}\n`.length
    for (const [bytes, isKept] of [
      [LINE_BYTES_MAX, true],
      [LINE_BYTES_MAX + 1, false],
    ] as const) {
      const line = `${JSON.stringify({ x: 'a'.repeat(bytes - frame) })}\n`
      assert.equal(shortenLine(line) === line, isKept)
    }
  })
})

test('a reader that is gone keeps no process from its end', { timeout: 60_000 }, async () => {
  // The reader takes one line; what is logged after that, and at exit, can be written nowhere.
  const child = spawn(
    '/bin/bash',
    ['-c', 'set -o pipefail; "$0" "$1" a 3000 | head -n 1; exit', process.execPath, WRITER],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  const [line] = await Promise.all([text(child.stdout), text(child.stderr)])
  assert.equal(linesIn(line).length, 1)
})

describe('for people', () => {
  const plain = (use: (log: Log) => void): Promise<string> => textOf(use, 'plain')

  test('a request is one line that is read at a glance', async () => {
    const caller = {
      session: { user: 'alice', uuid: 'u', subject: '', isLocalSuperuser: true },
      trackId: 't',
      logged: null,
    }
    const fields: AccessFields = { ...REQUEST, caller, totalMs: 7.6 }
    assert.match(
      await plain((log) => log.access(fields)),
      /^\d\d:\d\d:\d\d GET \/services\/plugin\/x 200 8 ms alice\n$/,
    )
    const refused = { ...REQUEST, status: 403, outcome: 'refused', reason: 'session-missing' }
    assert.match(await plain((log) => log.access(refused)), /GET \/services\/plugin\/x 403 1 ms session-missing\n$/)
  })

  test('an event is its name and its fields, and nothing in it moves the cursor', async () => {
    const said = await plain((log) => log.warn({ event: 'odd', line: 3, problem: 'two words', list: ['a'] }))
    assert.match(said, /^\d\d:\d\d:\d\d warn {2}odd line=3 problem="two words" list=\["a"\]\n$/)
    const path = '/services/plugin/\u001b[2Jx'
    // oxlint-disable-next-line no-control-regex -- it is what must not be there
    assert.doesNotMatch(await plain((log) => log.access({ ...REQUEST, path })), /\u001b/)
  })

  test('an error has its stack below', async () => {
    const said = await plain((log) => log.error({ event: 'failed', error: new RangeError('too far') }))
    assert.match(said, /^\S+ error failed\nRangeError: too far\n {4}at /)
  })
})

test('a log that cannot be written does not end the process', { timeout: 20_000 }, async () => {
  const child = spawn('/bin/sh', ['-c', '"$0" "$1" a 200 > /dev/full', process.execPath, WRITER], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const said = await text(child.stderr)
  assert.doesNotMatch(said, /ENOSPC|Error/)
})

const REQUEST: AccessFields = {
  requestId: '1-a',
  client: '10.0.0.9',
  caller: null,
  service: 'x',
  method: 'GET',
  path: '/services/plugin/x?y=1',
  status: 200,
  outcome: 'complete',
  reason: null,
  bytesIn: 0,
  bytesOut: 22,
  ttfbMs: 0.4,
  totalMs: 1,
}

describe('the access log', { timeout: 300_000 }, () => {
  test('has no session id that stands in a path by mistake', async () => {
    const id = '6d1c2e9c-0000-4000-8000-000000000000'
    for (const path of [`/services/plugin/OpaqueRef:${id}/x`, `/services/plugin/x/OpaqueRef%3a${id}/x`]) {
      const [line] = await linesOf((log) => log.access({ ...REQUEST, path }))
      assert.match(String(line?.['path']), /\/\(session\)\/x$/)
      assert.doesNotMatch(JSON.stringify(line), /6d1c2e9c/)
      assert.doesNotMatch(await textOf((log) => log.access({ ...REQUEST, path }), 'plain'), /6d1c2e9c/)
    }
  })

  const fields: AccessFields = {
    requestId: '1-a',
    client: '10.0.0.9',
    caller: {
      session: { user: 'root', uuid: '6d1c2e9c-0000-4000-8000-000000000000', subject: '', isLocalSuperuser: true },
      trackId: '0123456789abcdef0123456789abcdef',
      logged: null,
    },
    service: 'com.example.backup',
    method: 'GET',
    path: '/services/plugin/com.example.backup/x?session_id=OpaqueRef:secret&y=1',
    status: 200,
    outcome: 'complete',
    reason: null,
    bytesIn: 0,
    bytesOut: 22,
    ttfbMs: 0.4,
    totalMs: 0.5,
  }

  test('has no query, and so no session id', async () => {
    const [line] = await linesOf((log) => log.access(fields))
    assert.doesNotMatch(JSON.stringify(line), /session_id|OpaqueRef|secret/)
    assert.equal(line?.['path'], '/services/plugin/com.example.backup/x')
    assert.equal(line['event'], 'request')
    assert.equal(line['bytesOut'], 22)
  })

  test('is the same event written by hand as by JSON.stringify, whatever the texts hold', () => {
    for (const odd of ['plain', 'a"b\\c', '\u0000\n\t\u001f', 'caf\u00e9 \u{1f600}', '\ud800', '', '\u2028']) {
      const caller = {
        session: { user: odd, uuid: 'u', subject: '', isLocalSuperuser: true },
        trackId: 't',
        logged: null,
      }
      const line = { ...fields, caller, path: `/${odd}`, service: null, ttfbMs: 0.0006, totalMs: 12.9996 }
      const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6)
      // The second and third time, a part of the line before is used again.
      const [first = '', ...again] = [1, 2, 3].map(() => accessJson(line, 7, nowMs))
      assert.deepEqual(again, [first, first])
      assert.deepEqual(JSON.parse(first), {
        level: 'info',
        time: '2026-01-02T03:04:05.006Z',
        pid: 7,
        ...accessLine(line),
      })
    }
  })

  test('is silent above its level', async () => {
    const lines = await linesOf((log) => {
      log.level = 'warn'
      log.access(fields)
      log.warn({ event: 'seen' })
    })
    assert.deepEqual(
      lines.map((line) => line['event']),
      ['seen'],
    )
  })

  test('names no caller where there is none', () => {
    const { user, session } = JSON.parse(accessJson({ ...fields, caller: null }, 7, 0)) as Record<string, unknown>
    assert.deepEqual([user, session], [null, null])
  })

  test('says null for a request that could not be read', () => {
    assert.equal(accessLine({ ...fields, path: null, method: null })['path'], null)
  })
})
