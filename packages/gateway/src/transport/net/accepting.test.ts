import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { closeDescriptor, connectSocket } from '@xengate/channel'
import { acceptBetweenReads, acceptHandles } from './accepting.ts'

const DEADLINE = { timeout: 10_000 }

interface Listening {
  readonly accepted: () => number
  /** Connects so many times within the turn. */
  readonly connect: (times: number) => void
  readonly close: () => void
}

async function listening(t: TestContext): Promise<Listening> {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  const path = join(directory, 's')
  const server = createServer()
  server.listen(path)
  await once(server, 'listening')
  const handles: { close?: () => void }[] = []
  const clients: number[] = []
  acceptHandles(
    server,
    (handle) => handles.push(handle as unknown as { close?: () => void }),
    () => {},
  )
  t.after(() => {
    for (const handle of handles) handle.close?.()
    for (const fd of clients) closeDescriptor(fd)
    if (server.listening) server.close()
    rmSync(directory, { recursive: true })
  })
  const connect = (times: number): void => {
    for (let count = 0; count < times; count++) {
      const connected = connectSocket(path)
      assert.ok(connected.kind === 'connected')
      clients.push(connected.fd)
    }
  }
  return { accepted: () => handles.length, connect, close: () => void server.close() }
}

test('all that wait are accepted in the turn in which the first one is', DEADLINE, async (t) => {
  const { accepted, connect } = await listening(t)
  connect(60)
  // The first turn may have looked for connections before there were any.
  for (let turn = 0; turn < 2; turn++) await nextTurn()
  assert.equal(accepted(), 60)
})

test('those that come while much is read are accepted between the reads', DEADLINE, async (t) => {
  const { accepted, connect, close } = await listening(t)
  connect(10)
  for (let read = 0; read < 32; read++) acceptBetweenReads()
  assert.equal(accepted(), 10)
  connect(5)
  close()
  for (let read = 0; read < 32; read++) acceptBetweenReads()
  assert.equal(accepted(), 10)
})
