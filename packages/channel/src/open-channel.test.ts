import assert from 'node:assert/strict'
import { once } from 'node:events'
import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type ChannelOffer, RECEIVED_BYTES_MAX } from './offer.ts'
import { openChannel } from './open-channel.ts'
import { receiveChannel } from './receive-channel.ts'
import { encodeAccepted } from './reports.ts'
import { openDescriptors, sendRaw, socketPair } from './testing/raw.ts'

const DEADLINE = { timeout: 60_000 }
const OFFER: ChannelOffer = {
  channel: 'w0-1',
  service: 'svc',
  session: { id: 'id', user: 'root', subject: 'OpaqueRef:NULL', roles: [], originator: '' },
  methods: ['GET'],
  client: { address: '127.0.0.1', port: 1 },
  proto: 'http',
  gateway: '/gateway.sock',
  greeting: '',
}
const NOTHING = Buffer.alloc(0)

function directoryOf(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

/** A pair whose ends are closed with the test. */
function clientOf(t: TestContext): number {
  const pair = socketPair()
  t.after(() => pair.forEach((fd) => closeSync(fd)))
  return pair[0]
}

test('a socket that is not there is told as such', (t) => {
  const path = join(directoryOf(t), 'none.channel')
  const client = clientOf(t)
  assert.deepEqual(openChannel(path, client, OFFER, NOTHING), { kind: 'failed', code: 'ENOENT' })
})

test(
  'a dead socket file, a path too long, bytes over the limit: failed, and nothing left open',
  DEADLINE,
  async (t) => {
    const directory = directoryOf(t)
    const path = join(directory, 'dead.channel')
    const internals = net as unknown as { _createServerHandle(path: string, ...of: number[]): { close(): void } }
    const client = clientOf(t)
    const before = openDescriptors()
    // Bound, and never listening: connections are refused.
    const handle = internals._createServerHandle(path, -1, -1)
    assert.deepEqual(openChannel(path, client, OFFER, NOTHING), { kind: 'failed', code: 'ECONNREFUSED' })
    handle.close()
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(openChannel(`/${'x'.repeat(107)}`, client, OFFER, NOTHING), {
      kind: 'failed',
      code: 'ENAMETOOLONG',
    })
    const over = Buffer.alloc(RECEIVED_BYTES_MAX + 1)
    assert.deepEqual(openChannel(path, client, OFFER, over), { kind: 'failed', code: 'EMSGSIZE' })
    const wide = { ...OFFER, session: { ...OFFER.session, user: 'é'.repeat(40_000) } }
    assert.deepEqual(openChannel(path, client, wide, NOTHING), { kind: 'failed', code: 'EMSGSIZE' })
    assert.equal(openDescriptors(), before)
  },
)

test('a descriptor that is none fails the hand-over, and nothing is left open', DEADLINE, async (t) => {
  const path = join(directoryOf(t), 's')
  const server = net.createServer((socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const before = openDescriptors()
  assert.deepEqual(openChannel(path, 1_000_000, OFFER, NOTHING), { kind: 'failed', code: 'EBADF' })
  assert.equal(openDescriptors(), before)
  await new Promise((resolve) => server.close(resolve))
})

test('a service that does not keep up is EAGAIN, not a wait', DEADLINE, async (t) => {
  const path = join(directoryOf(t), 's')
  const client = clientOf(t)
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen({ path, backlog: 1 }, resolve))
  const controls: number[] = []
  let code = ''
  // Nothing is accepted while this runs.
  while (code === '' && controls.length < 100) {
    const opened = openChannel(path, client, OFFER, NOTHING)
    if (opened.kind === 'opened') controls.push(opened.fd)
    else code = opened.code
  }
  assert.equal(code, 'EAGAIN')
  for (const fd of controls) closeSync(fd)
  await new Promise((resolve) => server.close(resolve))
})

test('thousands of hand-overs, good and bad, leave no descriptor open on either side', DEADLINE, async (t) => {
  const path = join(directoryOf(t), 's')
  const outcomes: Record<string, number> = {}
  const server = net.createServer({ pauseOnConnect: true }, (control) => {
    void take(control)
  })
  const take = async (control: net.Socket): Promise<void> => {
    const taken = await receiveChannel(control)
    outcomes[taken.kind] = (outcomes[taken.kind] ?? 0) + 1
    if (taken.kind === 'received') closeSync(taken.clientFd)
    control.on('close', () => closed())
    control.end(encodeAccepted()).resume()
  }
  let closed = (): void => {}
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const before = openDescriptors()
  for (let round = 0; round < 3000; round++) {
    const [client, peer] = socketPair()
    const done = new Promise<void>((resolve) => {
      closed = resolve
    })
    const control = round % 3 === 0 ? good(path, client) : bad(path, client, round % 3)
    await done
    control.destroy()
    if (!control.closed) await once(control, 'close')
    closeSync(client)
    closeSync(peer)
  }
  assert.equal(openDescriptors(), before)
  assert.deepEqual(outcomes, { received: 1000, invalid: 1000, ended: 1000 })
  await new Promise((resolve) => server.close(resolve))
})

function good(path: string, client: number): net.Socket {
  const opened = openChannel(path, client, OFFER, Buffer.from('GET / HTTP/1.1\r\n\r\n'))
  assert.ok(opened.kind === 'opened')
  return new net.Socket({ fd: opened.fd }).resume()
}

/** Two descriptors, or a message of which the end does not come. */
function bad(path: string, client: number, kind: number): net.Socket {
  const control = net.connect(path)
  control.on('error', () => {}).resume()
  control.on('connect', () => {
    const { fd } = (control as unknown as { _handle: { fd: number } })._handle
    const length = Uint8Array.of(0, 0, 0, 9, 0x7b)
    sendRaw(fd, length, kind === 1 ? [client, client] : [client])
    if (kind === 2) control.end()
  })
  return control
}
