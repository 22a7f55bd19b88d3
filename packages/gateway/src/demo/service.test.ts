import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { type DemoProcess, startDemo } from './child.ts'

describe('the demo service', { timeout: 300_000 }, () => {
  let directory: string
  let demo: DemoProcess
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xengate-demo-'))
    demo = await startDemo(join(directory, 'demo'))
  })
  after(async () => {
    await demo.close()
    await rm(directory, { recursive: true })
  })

  async function ask(path: string, options: RequestOptions = {}, body?: string): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const target = `/services/plugin/org.xengate.demo${path}`
    request({ socketPath: join(directory, 'demo'), path: target, ...options }, resolve)
      .once('error', reject)
      .end(body)
    return promise
  }

  test('its socket is for its own user', async () => {
    assert.equal((await stat(join(directory, 'demo'))).mode & 0o777, 0o600)
  })

  test('it says who is asking', async () => {
    const headers = { 'X-Xen-Session-User': 'alice', 'X-Xen-Session-Roles': 'vm-admin' }
    assert.match(await text(await ask('', { headers })), /^Hello alice\.[^]*roles +vm-admin\n/)
  })

  test('it sends back what it gets, with its type', async () => {
    for (const method of ['PUT', 'POST']) {
      const response = await ask('/echo', { method, headers: { 'Content-Type': 'text/x-test' } }, 'abc')
      assert.equal(response.headers['content-type'], 'text/x-test')
      assert.equal(await text(response), 'abc')
    }
  })

  test('its clock ticks as server-sent events', async () => {
    const response = await ask('/clock?x=1')
    assert.equal(response.headers['content-type'], 'text/event-stream')
    for await (const chunk of response) {
      assert.match(String(chunk), /^data: \d{4}-.*Z\n\n/)
      break
    }
  })

  test('another path is not found', async () => {
    const response = await ask('/nothing')
    assert.equal(response.statusCode, 404)
    response.resume()
  })

  test('a second one does not take its socket away', async () => {
    await assert.rejects(startDemo(join(directory, 'demo')), { name: 'ListenError' })
  })
})
