// Clients of one address that say nothing to a listener with TLS: others are served all the same.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Child, run } from './harness/child.ts'
import { Place } from './harness/daemon.ts'
import { makeNetwork } from './harness/network.ts'
import { scopeOf } from './harness/scope.ts'
import { makeCertificate } from './harness/tls.ts'

const PORT = 8443
const OPTIONS = {
  timeout: 60_000,
  // Namespaces are root's to make.
  skip: process.getuid?.() === 0 ? false : 'run as root: sudo npx node -C @xengate/source --test test/shares.test.ts',
}

/** Connects as often as there is room for all, says nothing, and prints how many were closed. */
const SILENT = `
import select, socket, sys
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connections = [socket.create_connection((address, port), source_address=(address, 0)) for _ in range(count)]
closed = 0
while True:
    for ready in select.select(connections, [], [])[0]:
        connections.remove(ready)
        closed += 1
        print('closed', closed, flush=True)
`

test('silent clients of one address leave room for others before TLS as well', OPTIONS, async (t) => {
  const scope = scopeOf(t)
  const [host] = makeNetwork(scope, 1)
  assert.ok(host !== undefined)
  const files = makeCertificate(await scope.directory())
  const keys = `tls = { certificate = "${files.certificate}", key = "${files.key}" }`
  const tables = '[limits]\nconnections = 8\nshare = 50\nhead-timeout = "1m"\n'
  const place = await Place.make(scope, { listen: [{ address: `0.0.0.0:${PORT}`, keys }], tables })
  const daemon = await place.start(host.within)
  const [command = '', ...within] = host.within
  const silent = new Child(scope, command, [...within, 'python3', '-c', SILENT, host.address, String(PORT), '8'])
  await silent.printed(({ stdout }) => stdout.includes('closed 4') || undefined, 'those that are too many to be closed')
  const curl = ['curl', '-sk', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}', `https://127.0.0.1:${PORT}/x`]
  const { stdout } = await run(scope, command, [...within, ...curl])
  assert.equal(stdout, '404')
  assert.ok(!silent.stdout.includes('closed 5'))
  const limits = (await daemon.event(({ event }) => event === 'limit-reached', 'the limit in the log'))['limit']
  assert.equal(limits, 'connections-of-address')
})
