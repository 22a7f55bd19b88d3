// What xcp-rrdd reads, by a reader that goes the way of its own: it maps the file once, and checks every sum.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Child } from './harness/child.ts'
import { Place } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange } from './harness/raw.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { serveHttp } from './harness/services.ts'

const NAME = 'com.example.work'

/** Maps argv[1], and prints what is in it now for each line of standard input. */
const READER = `
import json, mmap, struct, sys, zlib
with open(sys.argv[1], "rb") as file: memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
def read():
    assert memory[:11] == b"DATASOURCES"
    data_sum, metadata_sum, count, time = struct.unpack(">LLLd", memory[11:31])
    values_end = 31 + 8 * count
    assert data_sum == zlib.crc32(memory[23:values_end])
    (length,) = struct.unpack(">L", memory[values_end:values_end + 4])
    metadata = memory[values_end + 4:values_end + 4 + length]
    assert metadata_sum == zlib.crc32(metadata)
    assert len(memory) == values_end + 4 + length
    sources = json.loads(metadata)["datasources"]
    assert len(sources) == count
    values = {}
    for index, (name, source) in enumerate(sources.items()):
        form = {"int64": ">q", "float": ">d"}[source["value_type"]]
        assert source["type"] in ("gauge", "derive", "absolute") and source["owner"] == "host"
        assert float(source["min"]) == 0 and float(source["max"]) > 1e300 and source["default"] == "true"
        (values[name],) = struct.unpack(form, memory[31 + 8 * index:39 + 8 * index])
    return {"time": time, "values": values}
for line in sys.stdin: print(json.dumps(read()), flush=True)
`

interface Read {
  readonly time: number
  readonly values: Readonly<Record<string, number>>
}

class Reader {
  readonly #child: Child
  #reads = 0

  constructor(scope: Scope, path: string) {
    this.#child = new Child(scope, 'python3', ['-c', READER, path])
  }

  read(): Promise<Read> {
    const index = this.#reads++
    this.#child.process.stdin?.write('\n')
    return this.#child.printed(({ stdout }) => {
      const lines = stdout.split('\n')
      return lines.length > index + 1 ? (JSON.parse(lines[index] ?? '') as Read) : undefined
    }, 'what is in the file')
  }
}

test('requests, errors, refusals, latency and memory are where xcp-rrdd reads them, and gone after the stop', async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope, { tables: '[host]\ndata-sources = true\nmetrics-directory = "metrics"\n' })
  await place.addDefaultUser()
  const path = join(place.directory, 'metrics/xengate')
  // What is no file of ours is replaced.
  mkdirSync(join(place.directory, 'metrics'))
  writeFileSync(path, 'something else')
  const first = await place.start()
  await serveHttp(scope, place.socket(NAME), ({ url = '' }, response) => {
    response.writeHead(url.endsWith('/broken') ? 500 : 200).end('done')
  })
  const { ino, mode } = statSync(path)
  assert.equal(mode & 0o777, 0o644)
  const reader = new Reader(scope, path)
  const before = await reader.read()
  assert.ok(Math.abs(before.time - Date.now() / 1000) < 60)
  assert.deepEqual(Object.keys(before.values), [
    'xengate_errors',
    'xengate_latency',
    'xengate_memory',
    'xengate_refusals',
    'xengate_requests',
  ])
  const { xengate_requests: none, xengate_memory: memory = 0 } = before.values
  assert.equal(none, 0)
  assert.ok(memory > 1_000_000)

  const session = await first.login()
  const get = (target: string, id: string): string =>
    `GET /services/plugin/${target} HTTP/1.1\r\nHost: gate\r\nCookie: session_id=${id}\r\nConnection: close\r\n\r\n`
  assert.equal((await exchange(first.url, get(NAME, session))).status, 200)
  assert.equal((await exchange(first.url, get(`${NAME}/broken`, session))).status, 500)
  assert.equal((await exchange(first.url, get(NAME, 'OpaqueRef:nobody'))).status, 403)
  const after = await until(async () => {
    const read = await reader.read()
    return read.values['xengate_requests'] === 4 ? read : undefined
  }, 'four requests')
  assert.ok(after.time > before.time)
  assert.deepEqual([after.values['xengate_errors'], after.values['xengate_refusals']], [1, 1])
  assert.ok((after.values['xengate_latency'] ?? 0) > 0)

  // One that was killed leaves the file, and xcp-rrdd has mapped it.
  process.kill(first.child.pid, 'SIGKILL')
  await first.child.exited
  assert.equal(statSync(path).ino, ino)
  const second = await place.start()
  assert.equal(statSync(path).ino, ino)
  assert.equal((await reader.read()).values['xengate_requests'], 0)
  assert.equal((await second.stop()).code, 0)
  assert.ok(!existsSync(path) && !existsSync(`${path}.tmp`))
})
