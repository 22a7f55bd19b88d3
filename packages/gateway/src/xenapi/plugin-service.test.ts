// What a service is asked for a call of a plugin, in literal bytes: how it fails.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { OPEN_POLICY } from '../model/policy.ts'
import { askService } from './plugin-service.ts'

const PLUGIN = 'updater.py'

/** Asks a service that answers `response` and leaves its connection open. */
async function asked(t: TestContext, response: string): Promise<string | null> {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.write(response))
  })
  await new Promise<void>((resolve) => server.listen(join(directory, PLUGIN), resolve))
  t.after(() => {
    server.close()
    rmSync(directory, { recursive: true, force: true })
  })
  const session = { uuid: '1', user: 'root', subject: '', roles: [], originator: '', isLocalSuperuser: true }
  const gone = new AbortController().signal
  const call = { plugin: PLUGIN, fn: 'f', args: {}, session, sessionId: 'OpaqueRef:x', clientAddress: '', gone }
  const directories = [directory]
  const way = { directories, policy: OPEN_POLICY, connect: (path: string) => connect(path), timeoutMs: 60_000 }
  return askService(PLUGIN, '/f', call, way)
}

test('a service that switches protocols has given no answer', { timeout: 20_000 }, async (t) => {
  await assert.rejects(asked(t, 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'), {
    code: 'XENAPI_PLUGIN_FAILURE',
    params: [PLUGIN, 'the service gave no answer', ''],
  })
})

test('what a service answers is the value', { timeout: 20_000 }, async (t) => {
  assert.equal(await asked(t, 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nv'), 'v')
})
