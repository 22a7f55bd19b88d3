import assert from 'node:assert/strict'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { test, type TestContext } from 'node:test'
import { closeDescriptor, endConnection } from './descriptor.ts'
import { type ChannelOffer, OFFER_BYTES_MAX, RECEIVED_BYTES_MAX } from './offer.ts'
import { openChannel } from './open-channel.ts'
import { ChannelReceiver, type ReadOutcome, receiveChannel, type Received } from './receive-channel.ts'
import { messageOf, openDescriptors, sendRaw, socketPair } from './testing/raw.ts'

const DEADLINE = { timeout: 60_000 }

const OFFER: ChannelOffer = {
  channel: 'w0-17',
  service: 'com.example.backup',
  session: {
    id: 'OpaqueRef:11111111-1111-4111-8111-111111111111',
    user: 'Zoë "root"',
    subject: 'OpaqueRef:NULL',
    roles: ['pool-admin', 'read-only'],
    originator: '',
  },
  methods: ['GET', 'PUT'],
  client: { address: '::1', port: 51_234 },
  proto: 'https',
  gateway: '/run/xengate/gateway.sock',
  greeting: 'whose it is\r\n',
}
const REQUEST = 'GET /services/plugin/com.example.backup HTTP/1.1\r\nHost: h\r\n\r\n'
const JSON_TEXT = JSON.stringify({ version: 1, ...OFFER, received: REQUEST.length })

/** Opens a channel to a listening socket, and takes it there. */
async function handOver(t: TestContext, send: (path: string) => void, deadlineMs?: number): Promise<Received> {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  const path = join(directory, 'svc.channel')
  const accepted = Promise.withResolvers<net.Socket>()
  const server = net.createServer({ pauseOnConnect: true }, accepted.resolve)
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => {
    server.close()
    rmSync(directory, { recursive: true })
  })
  send(path)
  const control = await accepted.promise
  t.after(() => control.destroy())
  return receiveChannel(control, deadlineMs)
}

/** Asserts that `fd` is one end of the connection whose other end is `peer`; closes both. */
async function assertConnected(fd: number, peer: number): Promise<void> {
  const [one, two] = [new net.Socket({ fd }), new net.Socket({ fd: peer })]
  one.end('through the channel')
  let text = ''
  for await (const chunk of two.setEncoding('utf8')) text += chunk
  assert.equal(text, 'through the channel')
  two.destroy()
  one.destroy()
}

/** What a receiver says to `bytes` that come with `descriptors`, before the sender closes, and after. */
function readRaw(bytes: Uint8Array, descriptors: readonly number[]): readonly [ReadOutcome, ReadOutcome | undefined] {
  const [gateway, service] = socketPair()
  sendRaw(gateway, bytes, descriptors)
  const receiver = new ChannelReceiver(service)
  const first = receiver.read()
  closeSync(gateway)
  const second = first.kind === 'more' ? receiver.read() : undefined
  receiver.destroy()
  closeSync(service)
  return [first, second]
}

/** Why `bytes` with `descriptors` are refused; asserts that nothing is left open. */
function refusalOf(bytes: Uint8Array, descriptorCount = 1): string {
  const [client, peer] = socketPair()
  const before = openDescriptors()
  const [outcome] = readRaw(bytes, Array(descriptorCount).fill(client))
  assert.equal(openDescriptors(), before)
  closeSync(client)
  closeSync(peer)
  assert.equal(outcome.kind, 'invalid')
  return outcome.kind === 'invalid' ? outcome.why : ''
}

test('a channel arrives whole: connection, offer and the bytes already read', DEADLINE, async (t) => {
  const [client, peer] = socketPair()
  const received = Buffer.from([...Buffer.from(REQUEST), 0, 255])
  const taken = await handOver(t, (path) => {
    const opened = openChannel(path, client, OFFER, received)
    assert.ok(opened.kind === 'opened')
    assert.equal(opened.unsent, null)
    closeSync(client)
    t.after(() => closeSync(opened.fd))
  })
  assert.ok(taken.kind === 'received')
  assert.deepEqual(taken.offer, { version: 1, ...OFFER, received: received.length })
  assert.deepEqual(taken.received, received)
  await assertConnected(taken.clientFd, peer)
})

test('a message larger than the socket buffer is finished by the caller', DEADLINE, async (t) => {
  const [client, peer] = socketPair()
  const received = Buffer.alloc(RECEIVED_BYTES_MAX, 'abcdefg')
  const taken = await handOver(t, (path) => {
    const opened = openChannel(path, client, OFFER, received)
    assert.ok(opened.kind === 'opened' && opened.unsent !== null)
    closeSync(client)
    const control = new net.Socket({ fd: opened.fd })
    control.write(opened.unsent)
    t.after(() => control.destroy())
  })
  assert.ok(taken.kind === 'received')
  assert.ok(taken.received.equals(received))
  await assertConnected(taken.clientFd, peer)
})

test('nothing is read past the message', DEADLINE, () => {
  const [client, peer] = socketPair()
  const [gateway, service] = socketPair()
  const bytes = Buffer.concat([messageOf(JSON_TEXT, REQUEST), Buffer.from('next')])
  sendRaw(gateway, bytes, [client])
  const taken = new ChannelReceiver(service).read()
  assert.ok(taken.kind === 'received')
  closeDescriptor(taken.clientFd)
  const again = new ChannelReceiver(service)
  assert.deepEqual(again.read(), { kind: 'invalid', why: 'no descriptor came with the first byte' })
  for (const fd of [client, peer, gateway, service]) closeSync(fd)
})

test('a message in two parts, cut at every byte, is one message', DEADLINE, () => {
  const before = openDescriptors()
  const bytes = messageOf(JSON_TEXT, REQUEST)
  for (let cut = 1; cut < bytes.length; cut++) {
    const [client, peer] = socketPair()
    const [gateway, service] = socketPair()
    const receiver = new ChannelReceiver(service)
    assert.equal(receiver.read().kind, 'more')
    sendRaw(gateway, bytes.subarray(0, cut), [client])
    assert.equal(receiver.read().kind, 'more', `whole after ${cut} bytes`)
    sendRaw(gateway, bytes.subarray(cut), [])
    const taken = receiver.read()
    assert.ok(taken.kind === 'received', `cut after ${cut} bytes`)
    assert.equal(taken.received.toString(), REQUEST)
    for (const fd of [taken.clientFd, client, peer, gateway, service]) closeSync(fd)
  }
  assert.equal(openDescriptors(), before)
})

test('a message that comes byte by byte is one message', DEADLINE, () => {
  const [client, peer] = socketPair()
  const [gateway, service] = socketPair()
  const receiver = new ChannelReceiver(service)
  const bytes = messageOf(JSON_TEXT, REQUEST)
  for (let at = 0; at < bytes.length - 1; at++) {
    sendRaw(gateway, bytes.subarray(at, at + 1), at === 0 ? [client] : [])
    assert.equal(receiver.read().kind, 'more')
  }
  sendRaw(gateway, bytes.subarray(-1), [])
  const taken = receiver.read()
  assert.ok(taken.kind === 'received')
  assert.deepEqual(taken.offer, JSON.parse(JSON_TEXT))
  for (const fd of [taken.clientFd, client, peer, gateway, service]) closeSync(fd)
})

test('the end after every byte but the last is an end, and closes what has come', DEADLINE, () => {
  const [client, peer] = socketPair()
  const before = openDescriptors()
  const bytes = messageOf(JSON_TEXT, REQUEST)
  for (let cut = 1; cut < bytes.length; cut++) {
    const outcomes = readRaw(bytes.subarray(0, cut), [client])
    assert.deepEqual(outcomes, [{ kind: 'more' }, { kind: 'ended' }])
  }
  assert.equal(openDescriptors(), before)
  closeSync(client)
  closeSync(peer)
})

test('a message without a descriptor is refused', () => {
  assert.equal(refusalOf(messageOf(JSON_TEXT, REQUEST), 0), 'no descriptor came with the first byte')
})

test('a message with two descriptors is refused, and both are closed', () => {
  assert.equal(refusalOf(messageOf(JSON_TEXT, REQUEST), 2), '2 descriptors came, and 1 is taken')
})

test('more descriptors than there is room for are refused, and all are closed', () => {
  const why = refusalOf(messageOf(JSON_TEXT, REQUEST), 9)
  assert.equal(why, 'descriptors are missing: more than 4 were sent, or this process has no more to give')
})

test('a descriptor that comes later is refused, and closed', DEADLINE, () => {
  const [client, peer] = socketPair()
  const [gateway, service] = socketPair()
  const before = openDescriptors()
  const receiver = new ChannelReceiver(service)
  const bytes = messageOf(JSON_TEXT, REQUEST)
  sendRaw(gateway, bytes.subarray(0, 20), [client])
  assert.equal(receiver.read().kind, 'more')
  sendRaw(gateway, bytes.subarray(20), [client])
  assert.deepEqual(receiver.read(), { kind: 'invalid', why: 'a descriptor came after the first byte' })
  assert.equal(openDescriptors(), before)
  for (const fd of [client, peer, gateway, service]) closeSync(fd)
})

test('a descriptor that is a file is refused, and closed', (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'xg-')), 'file')
  writeFileSync(path, '')
  t.after(() => rmSync(path))
  const file = openSync(path, 'r')
  const before = openDescriptors()
  const [outcome] = readRaw(messageOf(JSON_TEXT, REQUEST), [file])
  assert.deepEqual(outcome, { kind: 'invalid', why: 'the descriptor that came is no socket' })
  assert.equal(openDescriptors(), before)
  closeSync(file)
})

test('an offer over the limit is refused by its length alone', () => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(OFFER_BYTES_MAX + 1)
  assert.equal(refusalOf(length), 'the offer has 65537 bytes, and 65536 are the most')
})

test('an offer of the largest size is taken', () => {
  const text = JSON_TEXT.padEnd(OFFER_BYTES_MAX - 1) // one character of it is two bytes
  const [client, peer] = socketPair()
  const [outcome] = readRaw(messageOf(text, REQUEST), [client])
  assert.ok(outcome.kind === 'received')
  for (const fd of [outcome.clientFd, client, peer]) closeSync(fd)
})

test('what is no JSON object is refused', () => {
  const why = 'the offer is not a JSON object in UTF-8'
  for (const json of ['', '{', 'null', '[]', '"x"', '1', '{"version":1}x', Uint8Array.of(0x7b, 0xff, 0x7d)]) {
    assert.equal(refusalOf(messageOf(json)), why)
  }
})

test('another version is refused with the one that is spoken, whatever else it says', () => {
  const spoken = 'this side speaks version 1 of the channel protocol, not'
  assert.equal(refusalOf(messageOf('{"version":2,"channel":[]}')), `${spoken} 2`)
  assert.equal(refusalOf(messageOf('{"version":"1"}')), `${spoken} what the offer says`)
  assert.equal(refusalOf(messageOf('{}')), `${spoken} what the offer says`)
})

test('every field has to be there, and of its type', () => {
  const wrong: readonly (readonly [path: string, ...values: unknown[]])[] = [
    ['channel', undefined, 1, '', null],
    ['service', undefined, 1, '', ['x']],
    ['session', undefined, null, [], 'x'],
    ['session.id', undefined, null, 1, ''],
    ['session.user', undefined, null, 1],
    ['session.subject', undefined, null, {}],
    ['session.roles', undefined, 'pool-admin', [1], { 0: 'x' }],
    ['session.originator', undefined, null, false],
    ['methods', undefined, 'GET', [null]],
    ['client', undefined, null, []],
    ['client.address', undefined, null, 1],
    ['client.port', undefined, '1', -1, 65_536, 1.5],
    ['proto', null, 'ftp', 1],
    ['received', undefined, '1', -1, 1.5, 2 ** 53],
    ['gateway', undefined, '', 1],
    ['greeting', null, 1],
  ]
  for (const [path, ...values] of wrong) {
    for (const value of values) {
      const offer = JSON.parse(JSON_TEXT)
      const names = path.split('.')
      const last = names.pop() ?? ''
      const holder = names.reduce((record, name) => record[name], offer)
      holder[last] = value
      assert.equal(
        refusalOf(messageOf(JSON.stringify(offer))),
        `"${path}" of the offer is missing or of the wrong type`,
      )
    }
  }
})

test('fields that are not known are ignored', () => {
  const [client, peer] = socketPair()
  const text = JSON.stringify({ ...JSON.parse(JSON_TEXT), later: { x: 1 }, received: 0 })
  const [outcome] = readRaw(messageOf(text), [client])
  assert.ok(outcome.kind === 'received')
  for (const fd of [outcome.clientFd, client, peer]) closeSync(fd)
})

test('an offer that says nothing of proto and greeting is of one that came by HTTP and needs none', () => {
  const [client, peer] = socketPair()
  const { proto: _proto, greeting: _greeting, ...rest } = JSON.parse(JSON_TEXT)
  const [outcome] = readRaw(messageOf(JSON.stringify({ ...rest, received: 0 })), [client])
  assert.ok(outcome.kind === 'received')
  assert.deepEqual([outcome.offer.proto, outcome.offer.greeting], ['http', ''])
  for (const fd of [outcome.clientFd, client, peer]) closeSync(fd)
})

test('a message whose gateway has given up since is not taken', () => {
  const [client, peer] = socketPair()
  const before = openDescriptors()
  for (const isHalf of [false, true]) {
    const [gateway, service] = socketPair()
    sendRaw(gateway, messageOf(JSON_TEXT, REQUEST), [client])
    if (isHalf) endConnection(gateway)
    else closeSync(gateway)
    assert.deepEqual(new ChannelReceiver(service).read(), { kind: 'ended' })
    closeSync(service)
    if (isHalf) closeSync(gateway)
    assert.equal(openDescriptors(), before)
  }
  for (const fd of [client, peer]) closeSync(fd)
})

test('the last look makes no descriptor of one that follows the message', () => {
  const [client, peer] = socketPair()
  const [gateway, service] = socketPair()
  sendRaw(gateway, messageOf(JSON_TEXT, REQUEST), [client])
  sendRaw(gateway, Buffer.from('x'), [client])
  const before = openDescriptors()
  const taken = new ChannelReceiver(service).read()
  assert.ok(taken.kind === 'received')
  assert.equal(openDescriptors(), before + 1)
  for (const fd of [taken.clientFd, client, peer, gateway, service]) closeSync(fd)
})

test('more bytes than the limit are refused before they come', () => {
  const text = JSON.stringify({ ...JSON.parse(JSON_TEXT), received: RECEIVED_BYTES_MAX + 1 })
  assert.equal(refusalOf(messageOf(text)), 'the offer comes with 1048577 bytes, and 1048576 are the most')
})

test('a gateway that stands still is given up at the deadline', DEADLINE, async (t) => {
  const [client, peer] = socketPair()
  const before = openDescriptors()
  let gateway: net.Socket | undefined
  const taken = await handOver(
    t,
    (path) => {
      gateway = net.connect(path)
      gateway.on('connect', () => {
        const { fd } = (gateway as unknown as { _handle: { fd: number } })._handle
        sendRaw(fd, messageOf(JSON_TEXT, REQUEST).subarray(0, -1), [client])
      })
    },
    50,
  )
  assert.deepEqual(taken, { kind: 'invalid', why: 'the message was not whole within 50 ms' })
  // The listening socket and both ends of the control connection are open, the client's connection is not.
  assert.equal(openDescriptors(), before + 3)
  gateway?.destroy()
  closeSync(client)
  closeSync(peer)
})

test('a service that gives up while it waits is told that it ended', DEADLINE, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  const path = join(directory, 's')
  const server = net.createServer({ pauseOnConnect: true }, (control) => {
    taken.resolve(receiveChannel(control))
    control.destroy()
  })
  const taken = Promise.withResolvers<Received>()
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const gateway = net.connect(path)
  t.after(() => {
    gateway.destroy()
    server.close()
    rmSync(directory, { recursive: true })
  })
  assert.deepEqual(await taken.promise, { kind: 'ended' })
})
