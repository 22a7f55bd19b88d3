import assert from 'node:assert/strict'
import { closeSync, existsSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { bindListener, OPEN_SOCKET_FILE } from './listening-socket.ts'

test('a socket that is closed twice closes no descriptor that has its number since', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 's.sock')
  const socket = await bindListener({ kind: 'unix', path }, OPEN_SOCKET_FILE)
  socket.close()
  assert.ok(!existsSync(path))
  const other = openSync('/dev/null', 'r')
  t.after(() => closeSync(other))
  assert.equal(other, socket.fd, 'the lowest free number is taken')
  socket.close()
  assert.ok(fstatSync(other).isCharacterDevice())
})
