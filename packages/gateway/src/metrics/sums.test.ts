import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, ftruncateSync } from 'node:fs'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { CLIENT, Counters, ListenerCounters, WAY } from './counters.ts'
import { countsOf } from './counts.ts'
import { exposition } from './exposition.ts'
import type { FamilyName } from './families.ts'
import { SeriesMemory } from './series.ts'
import { COUNTERS_BYTES, createSharedMemory, mapSharedMemory } from './shared-memory.ts'
import { Sums } from './sums.ts'

function sumOf(sums: Sums, name: FamilyName, ...values: readonly string[]): number {
  return sums
    .all()
    .filter((one) => one.name === name && values.every((value, index) => one.values[index] === value))
    .reduce((sum, { total }) => sum + (total[0] ?? 0), 0)
}

const REQUESTS = 'xengate_requests_total'

test('what a process counted stays when it has ended, once, and its gauges go', () => {
  const sums = new Sums()
  const [one, other] = [Counters.private(), Counters.private()]
  const source = sums.add(one.memory)
  sums.add(other.memory)
  for (const counters of [one, other]) {
    counters.service('a').answered('GET', 200, WAY.RELAY)
    new ListenerCounters(counters, 'here').connectionIs(CLIENT.IDLE, null)
    counters.logged('warn', 'event', 1)
  }
  assert.deepEqual([sumOf(sums, REQUESTS, 'a'), sumOf(sums, 'xengate_connections', 'here', 'idle')], [2, 2])
  // What it counts after it was last looked at is there as well, in a series that nobody has seen.
  one.service('late').answered('GET', 200, WAY.RELAY)
  assert.equal(sums.end(source), true)
  assert.equal(sums.end(source), false)
  assert.deepEqual([sumOf(sums, REQUESTS), sumOf(sums, REQUESTS, 'late')], [3, 1])
  assert.equal(sumOf(sums, 'xengate_connections', 'here', 'idle'), 1)
  // The last time is no sum.
  assert.ok(sumOf(sums, 'xengate_log_event_last_timestamp_seconds', 'event') < Date.now() / 1000 + 10)
})

test('a process that is killed has counted what it counted', () => {
  const fd = createSharedMemory()
  const { memory, unmap } = mapSharedMemory(fd)
  const sums = new Sums()
  const source = sums.add(memory)
  const program = `
    import { Counters } from ${JSON.stringify(import.meta.resolve('./counters.ts'))}
    import { mapSharedMemory } from ${JSON.stringify(import.meta.resolve('./shared-memory.ts'))}
    const counters = new Counters(mapSharedMemory(3).memory)
    for (let count = 0; count < 1000; count++) counters.service('a').answered('PUT', 404, 4)
    process.kill(process.pid, 'SIGKILL')`
  const argv = ['-C', '@xengate/source', '--input-type=module-typescript', '-e', program]
  const { signal, stderr } = spawnSync(process.execPath, argv, { stdio: ['ignore', 'ignore', 'pipe', fd] })
  closeSync(fd)
  assert.equal(signal, 'SIGKILL', String(stderr))
  assert.equal(sumOf(sums, REQUESTS, 'a', 'PUT', '4xx', 'refused'), 1000)
  sums.end(source)
  unmap()
  assert.equal(sumOf(sums, REQUESTS, 'a', 'PUT', '4xx', 'refused'), 1000)
})

test('memory that is shared cannot be made shorter, which would end who reads it', () => {
  const fd = createSharedMemory()
  assert.throws(() => ftruncateSync(fd, 0), { code: 'EPERM' })
  closeSync(fd)
})

test('services beyond the bound, and methods that nobody knows, are counted as others', () => {
  const counters = new Counters(new ArrayBuffer(COUNTERS_BYTES))
  const sums = new Sums()
  sums.add(counters.memory)
  for (let index = 0; index < 3000; index++) counters.service(`service-${index}`).answered(`M${index}`, 200, WAY.RELAY)
  assert.equal(sumOf(sums, REQUESTS), 3000)
  assert.equal(sumOf(sums, REQUESTS, '_other', '_OTHER'), 2000)
  assert.equal(sumOf(sums, REQUESTS, 'service-999', '_OTHER'), 1)
  counters.known('nobody').answered('GET', 404, WAY.REFUSED)
  assert.equal(sumOf(sums, REQUESTS, '_other', 'GET'), 1)
})

test('a service that there is no room for is counted as another', () => {
  const counters = Counters.private()
  const sums = new Sums()
  sums.add(counters.memory)
  for (let index = 0; index < 1000; index++) counters.service(`service-${index}`).began()
  counters.none.answered('GET', 400, WAY.REFUSED)
  counters.refused('host-missing')
  assert.equal(sumOf(sums, REQUESTS, '', 'GET'), 1)
  assert.equal(sumOf(sums, 'xengate_refused_total', 'host-missing'), 1)
  assert.equal(sumOf(sums, 'xengate_requests_in_flight'), 1000)
  const others = sumOf(sums, 'xengate_requests_in_flight', '_other')
  assert.ok(others > 100 && others < 1000, `${others}`)
})

test('whatever names processes write, there are only so many series', () => {
  const memory = new ArrayBuffer(2 ** 24)
  const written = new SeriesMemory(memory)
  const write = (...key: readonly string[]): void => {
    written.cells[written.add(key.join('\n'), 1, 0)] = 1
  }
  for (let index = 0; index < 150_000; index++) write('xengate_refused_total', `reason-${index}`)
  for (let index = 0; index < 70_000; index++) write('xengate_log_events_total', '_other', `event-${index}`)
  const sums = new Sums()
  sums.add(memory)
  assert.ok(sums.all().length <= 100_010, `${sums.all().length}`)
  assert.equal(sumOf(sums, 'xengate_refused_total'), 150_000)
  assert.equal(sumOf(sums, 'xengate_log_events_total'), 70_000)
  assert.ok(sumOf(sums, 'xengate_log_events_total', '_other', '_other') > 0)
})

test('memory that another has written to is read without harm', () => {
  const memory = new ArrayBuffer(4096)
  const sums = new Sums()
  sums.add(memory)
  const words = new Int32Array(memory)
  words[0] = 1_000_000
  assert.deepEqual(sums.all(), [])
  words.fill(-1, 66)
  assert.deepEqual(sums.all(), [])
  const series = new SeriesMemory(new ArrayBuffer(4096))
  assert.equal(series.add('x'.repeat(10_000), 1, 0), 1)
})

test('the text is what Prometheus reads: cumulative buckets, escaped labels', () => {
  const counters = Counters.private()
  const sums = new Sums()
  sums.add(counters.memory)
  const service = counters.service('a')
  for (const ms of [0.1, 0.5, 3, 20_000]) {
    service.began()
    service.ended('GET', 200, WAY.RELAY, ms, null)
  }
  counters.count('xengate_redirects_total', 'a"b\\c')
  const text = exposition(sums.all())
  const lines = text.split('\n').filter((line) => line.startsWith('xengate_time_to_first_byte_seconds'))
  const of = (start: string): string | undefined =>
    lines
      .find((line) => line.includes(start))
      ?.split(' ')
      .at(-1)
  assert.deepEqual(
    ['le="0.0005"', 'le="0.001"', 'le="0.005"', 'le="10"', 'le="+Inf"', '_sum', '_count'].map((start) => of(start)),
    ['2', '2', '3', '3', '4', '20.0036', '4'],
  )
  assert.ok(text.includes('xengate_redirects_total{host="a\\"b\\\\c"} 1\n'))
  assert.ok(text.includes('# TYPE xengate_requests_total counter\n'))
})

test('counts are made of the series', () => {
  const counters = Counters.private()
  const sums = new Sums()
  sums.add(counters.memory)
  const service = counters.service('a')
  service.began()
  service.ended('GET', 500, WAY.RELAY, 4, 5)
  service.began()
  service.ended('GET', 200, WAY.RELAY, 2, 5)
  service.cut('service-died')
  service.cut('client-gone')
  service.used(3, 0, 0)
  counters.none.answered('GET', 403, WAY.REFUSED)
  const { all, services } = countsOf(sums.all())
  assert.deepEqual(
    { ...all, latencyMs: Math.round(all.latencyMs) },
    { requests: 6, refusals: 1, errors: 2, answers: 2, latencyMs: 6 },
  )
  assert.equal(services.get('a')?.requests, 5)
})

test('what is added while it is read is counted once', { timeout: 60_000 }, async () => {
  const program = `
    import { workerData } from 'node:worker_threads'
    import { SeriesMemory } from ${JSON.stringify(import.meta.resolve('./series.ts'))}
    const memory = new SeriesMemory(workerData)
    for (let index = 0; index < 45000; index++) {
      memory.cells[memory.add('xengate_requests_cut_total\\nservice' + index + '\\nreason', 1, 0)] += 1
      // A service brings some at once, and then there is a pause.
      if (index % 8 === 7) for (let pause = 0; pause < 2000; pause++) Math.sqrt(pause)
    }`
  for (let round = 0; round < 10; round++) {
    const memory = new SharedArrayBuffer(COUNTERS_BYTES)
    const sums = new Sums()
    const source = sums.add(memory as unknown as ArrayBuffer)
    const url = new URL(`data:text/javascript,${encodeURIComponent(program)}`)
    const worker = new Worker(url, { workerData: memory })
    const exited = new Promise<'over'>((resolve) => {
      worker.once('exit', () => resolve('over'))
    })
    const turn = (): Promise<unknown> => Promise.race([exited, nextTurn()])
    do {
      for (let count = 0; count < 2000; count++) source.look()
    } while ((await turn()) !== 'over')
    source.look()
    const twice = sums.all().filter(({ total }) => total[0] !== 1)
    assert.deepEqual(
      twice.map(({ values, total }) => `${values.join()}: ${total[0]}`),
      [],
    )
  }
})
