import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { DatagramSender } from '@xengate/channel'
import { ServiceManager } from './service-manager.ts'

/** A manager that reads nothing before it is told to. */
const MANAGER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1]); print("bound", flush=True)
sys.stdin.readline()
while True: print(repr(s.recv(65536)), flush=True)
`

test('what the manager has no room for is said again', { timeout: 20_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  const path = join(directory, 'notify')
  const child = spawn('python3', ['-c', MANAGER, path])
  const fd = openSync('/dev/null', 'r')
  const sender = new DatagramSender(path)
  const manager = new ServiceManager(path, 0, 8, ['xengate=gone'])
  t.after(() => {
    manager.keep(new Map())
    child.kill()
    sender.close()
    closeSync(fd)
    rmSync(directory, { recursive: true })
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  assert.equal((await lines.next()).value, 'bound')
  while (sender.send(Buffer.from('filler')) === null);
  manager.keep(new Map([['/path', fd]]))
  child.stdin.write('\n')
  const said: string[] = []
  while (said.length < 2) {
    const { value = '' } = await lines.next()
    if (value !== "b'filler'") said.push(value)
  }
  assert.deepEqual(said, [
    String.raw`b'FDSTOREREMOVE=1\nFDNAME=xengate=gone'`,
    String.raw`b'FDSTORE=1\nFDPOLL=0\nFDNAME=xengate=/path'`,
  ])
})
