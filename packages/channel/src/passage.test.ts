import assert from 'node:assert/strict'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { connect, createServer, Socket } from 'node:net'
import { test } from 'node:test'

import { descriptorOf } from './descriptor.ts'
import { openPassage, passConnection, takeConnection } from './passage.ts'

test('a connection passes with its words, and what the client has sent by then waits in it', async (t) => {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  const client = connect(address.port, '127.0.0.1')
  t.after(() => client.destroy())
  const [accepted] = (await once(server, 'connection')) as [Socket]
  const passage = openPassage()
  assert.ok(passage !== null)
  t.after(() => [passage.giveFd, passage.takeFd].forEach((fd) => closeSync(fd)))
  assert.equal(takeConnection(passage.takeFd), null)
  client.write('hello')
  assert.equal(passConnection(passage.giveFd, descriptorOf(accepted), '{"some":"words"}'), null)
  accepted.destroy()
  const taken = takeConnection(passage.takeFd)
  assert.equal(taken?.words, '{"some":"words"}')
  const socket = new Socket({ fd: taken?.fd ?? -1 })
  t.after(() => socket.destroy())
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  assert.equal(bytes.toString(), 'hello')
  assert.equal(takeConnection(passage.takeFd), null)
})

test('a descriptor that goes along comes with it', (t) => {
  const [passage, other] = [openPassage(), openPassage()]
  assert.ok(passage !== null && other !== null)
  t.after(() => [passage, other].flatMap(({ giveFd, takeFd }) => [giveFd, takeFd]).forEach((fd) => closeSync(fd)))
  assert.equal(passConnection(passage.giveFd, other.takeFd, 'two', other.giveFd), null)
  assert.equal(passConnection(passage.giveFd, other.takeFd, 'one'), null)
  const taken = takeConnection(passage.takeFd)
  assert.ok(taken !== null && taken.words === 'two')
  // What is given at the one that came is taken at the other.
  assert.equal(passConnection(taken.otherFd, passage.giveFd, 'through'), null)
  const through = takeConnection(taken.fd)
  assert.equal(through?.words, 'through')
  const alone = takeConnection(passage.takeFd)
  assert.deepEqual([alone?.words, alone?.otherFd], ['one', -1])
  for (const fd of [taken.fd, taken.otherFd, through?.fd, alone?.fd]) closeSync(fd ?? -1)
})

test('that is full says so, and takes more when something was taken', (t) => {
  const passage = openPassage()
  assert.ok(passage !== null)
  t.after(() => [passage.giveFd, passage.takeFd].forEach((fd) => closeSync(fd)))
  let given = 0
  let failure: string | null = null
  while (failure === null && given < 100_000) {
    failure = passConnection(passage.giveFd, passage.giveFd, 'x'.repeat(200))
    if (failure === null) given++
  }
  assert.equal(failure, 'EAGAIN')
  for (let taken = 0; taken < given; taken++) closeSync(takeConnection(passage.takeFd)?.fd ?? -1)
  assert.equal(takeConnection(passage.takeFd), null)
  assert.equal(passConnection(passage.giveFd, passage.giveFd, 'x'), null)
})
