import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { bindSocket } from './bind-socket.ts'
import { openDescriptors } from './testing/raw.ts'

test('a bound socket refuses until somebody listens on it, and its file stays', { timeout: 10_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 's')
  const bound = bindSocket(path)
  assert.ok(bound.kind === 'bound')
  const [error] = await once(net.connect(path), 'error')
  assert.equal(error.code, 'ECONNREFUSED')

  const server = net.createServer((socket) => socket.end('hello'))
  server.listen({ fd: bound.fd })
  await once(server, 'listening')
  const client = net.connect(path)
  assert.equal(String((await once(client, 'data'))[0]), 'hello')
  client.destroy()
  await new Promise((resolve) => server.close(resolve))
  assert.ok(existsSync(path))
})

test('what cannot be bound is told, and leaves nothing open', () => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  const before = openDescriptors()
  assert.deepEqual(bindSocket(directory), { kind: 'failed', code: 'EADDRINUSE' })
  assert.deepEqual(bindSocket(join(directory, 'none', 's')), { kind: 'failed', code: 'ENOENT' })
  assert.deepEqual(bindSocket(join(directory, 'x'.repeat(107))), { kind: 'failed', code: 'ENAMETOOLONG' })
  assert.equal(openDescriptors(), before)
  rmSync(directory, { recursive: true })
})
