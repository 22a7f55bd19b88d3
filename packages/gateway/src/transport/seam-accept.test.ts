// What waits at a listening socket when that is given up, on every transport.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { closeDescriptor, connectSocket } from '@xengate/channel'
import { until } from './testing/peers.ts'
import { transports } from './testing/transports.ts'
import { NOBODY, type Wire } from './transport.ts'

/** More than are accepted at one time. */
const WAITING = 300

for (const transport of transports())
  test(`${transport.name}: all that wait are taken before a listener is given up, and nobody after that`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'xg-'))
    const path = join(directory, 's')
    const wires: Wire[] = []
    const clients: number[] = []
    t.after(() => {
      for (const wire of wires) wire.destroy()
      for (const fd of clients) closeDescriptor(fd)
      rmSync(directory, { recursive: true })
    })
    const listening = await transport.listen(
      { path },
      {
        accepted: (wire) => {
          wire.listener = NOBODY
          wires.push(wire)
        },
        failed: (code) => assert.fail(code),
      },
    )
    const connect = (): string => {
      const connected = connectSocket(path)
      if (connected.kind === 'connected') clients.push(connected.fd)
      return connected.kind
    }
    for (let count = 0; count < WAITING; count++) assert.equal(connect(), 'connected')
    listening.finish()
    assert.equal(wires.length, WAITING)
    listening.finish()
    await until(() => connect() === 'failed', 'the end of the listener')
    assert.equal(wires.length, WAITING)
  })
