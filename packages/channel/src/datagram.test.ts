import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { DatagramSender } from './datagram.ts'

/** Receives at argv[1]; `@` stands for the abstract name space. Each line of standard input asks for one datagram: its size, and the inodes of descriptors. */
const RECEIVER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\\0", 1))
print("bound", flush=True)
for _ in sys.stdin:
    data, fds, _, _ = socket.recv_fds(s, 65536, 4)
    print(len(data), *(os.fstat(fd).st_ino for fd in fds), flush=True)
`

async function receiver(t: TestContext, path: string): Promise<() => Promise<string>> {
  const child = spawn('python3', ['-c', RECEIVER, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  t.after(() => child.kill())
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  assert.equal((await lines.next()).value, 'bound')
  return async () => {
    child.stdin.write('\n')
    return String((await lines.next()).value)
  }
}

test('sends to whoever is there, and says when nobody is', { timeout: 10_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 's')
  const sender = new DatagramSender(path)
  assert.equal(sender.send(Buffer.from('early')), 'ENOENT')
  const next = await receiver(t, path)
  assert.equal(sender.send(Buffer.from('one')), null)
  assert.equal(await next(), '3')
  assert.equal(sender.send(Buffer.alloc(2000)), null)
  assert.equal(await next(), '2000')
  sender.close()
})

test('does not wait for a reader that is behind', { timeout: 10_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 's')
  await receiver(t, path)
  const sender = new DatagramSender(path)
  let code = null
  for (let sent = 0; code === null && sent < 100_000; sent++) code = sender.send(Buffer.alloc(100))
  assert.equal(code, 'EAGAIN')
  sender.close()
})

test('takes abstract names, as service managers give them', { timeout: 10_000 }, async (t) => {
  const name = `@xg-${process.pid}`
  const next = await receiver(t, name)
  const sender = new DatagramSender(name)
  assert.equal(sender.send(Buffer.from('four')), null)
  assert.equal(await next(), '4')
  sender.close()
})

test('sends a descriptor along, to paths and abstract names', { timeout: 10_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const fd = openSync(import.meta.filename, 'r')
  t.after(() => closeSync(fd))
  for (const path of [join(directory, 's'), `@xg-fd-${process.pid}`]) {
    const sender = new DatagramSender(path)
    assert.notEqual(sender.sendWith(Buffer.from('early'), fd), null)
    const next = await receiver(t, path)
    assert.equal(sender.sendWith(Buffer.from('with'), fd), null)
    assert.equal(await next(), `4 ${fstatSync(fd).ino}`)
    assert.equal(sender.send(Buffer.from('without')), null)
    assert.equal(await next(), '7')
    sender.close()
  }
})

test('a path that no socket can have is an error at once', () => {
  assert.throws(() => new DatagramSender('x'.repeat(200)), /no Unix socket can have a path that long/)
})
