import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { SyslogWriter } from './syslog.ts'

/** Reads nothing until it is told to; then prints each datagram as a line. */
const SLOW_READER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
sys.stdin.readline()
while True: print(s.recv(65536).decode(), flush=True)
`

test('a reader that is behind gets all in its order; past what may wait, lines are counted once', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 's')
  const child = spawn('python3', ['-c', SLOW_READER, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill())
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  assert.equal((await lines.next()).value, 'bound')
  const writer = new SyslogWriter(path, 'daemon', (dropped) => `dropped ${dropped}`)
  const text = 'x'.repeat(1000)
  for (let number = 0; number < 2000; number++) writer.add(`${number} ${text}\n`, 'error')
  child.stdin.write('\n')
  let next = 0
  for (;;) {
    const line = String((await lines.next()).value)
    const [, said = ''] = /^<2[78]>.{15} xengate\[\d+\]: (\d+|dropped \d+)/.exec(line) ?? []
    if (said.startsWith('dropped')) {
      assert.equal(said, `dropped ${2000 - next}`)
      break
    }
    assert.equal(said, String(next++))
  }
  assert.ok(next > 900 && next < 2000, `${next} lines came through`)
})
