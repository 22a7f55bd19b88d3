// Channels as such: what the gateway is told of them, how they end, and which are refused.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import net, { Socket } from 'node:net'
import { describe, test } from 'node:test'
import { openChannel, type Report, ReportReader } from '@xengate/channel'
import { requestText } from '../../packages/service/src/testing/fixture.ts'
import { SERVICE_NAME, totalOf } from '../../packages/service/src/testing/gateway.ts'
import { until, within } from '../harness/deadline.ts'
import { DEADLINE, type Rig } from './rig.ts'

const UPGRADE = requestText('GET', '/up', 'Connection: Upgrade\r\nUpgrade: echo\r\n')

export function testChannels(rig: Rig): void {
  describe('channels', () => {
    test('are told of at their end and while they go on, as far as they are used', DEADLINE, async (t) => {
      const { client, gateway } = await rig.running(t)
      gateway.onForwarded = (socket) => {
        createServer((_request, response) => response.end('gateway')).emit('connection', socket)
      }
      const one = await client()
      const request = requestText('PUT', '/length', 'Transfer-Encoding: chunked\r\n', '5\r\nabcde\r\n0\r\n\r\n')
      let [bytesIn, bytesOut] = [0, 0]
      const ask = async (): Promise<void> => {
        const { head, body } = await one.exchange(request)
        bytesIn += request.length
        bytesOut += head.length + 4 + body.length
      }
      await ask()
      const [channel] = gateway.channels
      assert.ok(channel !== undefined)
      await within(channel.reported(isReport), 'a report')
      await ask()
      one.destroy()
      await within(channel.ended, 'the end of the channel')
      assert.deepEqual(channel.reports[0], { kind: 'accepted' })
      assert.equal(channel.reports.filter(isReport).length, 2)
      assert.deepEqual(totalOf(channel.reports), { requests: 2, bytesIn, bytesOut })
    })

    test(
      'end at once, in a download, a pause, a handler, an upgrade, and on the way to the gateway',
      DEADLINE,
      async (t) => {
        const { client, gateway, forwarded, child, printed } = await rig.running(t)
        const [download, pause, slow, away] = [await client(), await client(), await client(), await client()]
        const clients = [download, pause, slow, away]
        await download.send(requestText('GET', '/endless'))
        await download.bytes(200_000)
        await pause.exchange(requestText('GET', '/hello'))
        await slow.send(requestText('GET', '/slow'))
        await printed('asked')
        await away.exchange(requestText('GET', '/hello'))
        await away.send('GET /x HTTP/1.1\r\nHost: h\r\n\r\n')
        const peer = await forwarded.next()
        await peer.until('\r\n\r\n')
        if (rig.library.takesUpgrades) {
          const upgraded = await client()
          clients.push(upgraded)
          await upgraded.send(UPGRADE)
          await upgraded.until('\r\n\r\nzo')
        }
        for (const { control } of gateway.channels) control.destroy()
        await Promise.all(clients.map((one) => one.end()))
        assert.equal(await peer.ended(), '')
        child.signal('SIGUSR1')
        assert.equal((await (await client()).exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
      },
    )

    test('leave no descriptor behind, whoever ends them', DEADLINE, async (t) => {
      const { client, gateway, child } = await rig.running(t)
      const count = (): number => readdirSync(`/proc/${child.pid}/fd`).length
      const round = async (isClients: boolean): Promise<void> => {
        const one = await client()
        await one.exchange(requestText('GET', '/hello'))
        const channel = gateway.channels.at(-1)
        assert.ok(channel !== undefined)
        if (isClients) one.destroy()
        else channel.control.destroy()
        await within(channel.ended, 'the end of a channel')
        one.destroy()
      }
      await round(true)
      const before = count()
      for (let number = 0; number < 50; number++) await round(number % 2 === 0)
      await until(() => count() <= before, 'descriptors to be closed')
    })

    test('are not answered on when the gateway has given up since', DEADLINE, async (t) => {
      const { client, gateway, child } = await rig.running(t)
      await child.halt()
      const one = await client()
      await one.send(requestText('GET', '/hello'))
      const channel = await until(() => gateway.channels[0], 'an offer')
      // It still reads what the service says, as the gateway does for a moment.
      await new Promise<void>((resolve) => channel.control.end(resolve))
      child.signal('SIGCONT')
      assert.equal((await one.end()).toString(), '')
      assert.equal((await (await client()).exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    })

    test('that cannot be taken are refused with the reason', DEADLINE, async (t) => {
      const { gateway, path, client, scope } = await rig.running(t)
      const own = net.createServer(() => {}).listen(0)
      await once(own, 'listening')
      scope.defer(() => void own.close())
      const { fd } = (own as unknown as { _handle: { fd: number } })._handle
      const offered = (offer: object): Socket => {
        const made = { ...gateway.offerFor('', 0), ...offer }
        const opened = openChannel(`${path}.channel`, fd, made, Buffer.alloc(0))
        assert.ok(opened.kind === 'opened')
        return new Socket({ fd: opened.fd })
      }
      const another = await refusal(offered({ service: 'com.example.other' }))
      assert.equal(another, `this is ${SERVICE_NAME}, and not com.example.other`)
      assert.match(await refusal(offered({ channel: '' })), /offer/)
      assert.match(await refusal(offered({ methods: undefined })), /offer/)
      const said = (...bytes: number[]): Promise<string> => {
        const control = net.connect(`${path}.channel`)
        control.write(Buffer.from(bytes))
        return refusal(control)
      }
      assert.match(await said(0, 0, 0, 2, 0x7b, 0x7d), /descriptor/)
      assert.match(await refusal(net.connect(`${path}.channel`)), /within 5/)
      assert.equal((await (await client()).exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    })
  })

  describe('upgrades', () => {
    for (const how of ['relayed', 'client'] as const) {
      if (rig.library.takesUpgrades) {
        test(`are the service’s to take: ${how}`, DEADLINE, async (t) => {
          const { errors, gateway, ...running } = await rig.running(t)
          const one = await running[how]()
          await one.send(`${requestText('GET', '/hello')}${UPGRADE}early `)
          await one.response()
          assert.match(await one.until('early '), /^HTTP\/1\.1 101 [^]*\r\n\r\n[^]*early $/)
          await one.send('late')
          assert.equal(await one.until('late'), 'late')
          one.destroy()
          if (how === 'client') await within(gateway.channels[0]?.ended ?? Promise.reject(), 'the end of the channel')
          // One that fails ends nobody else's connection.
          const two = await running[how]()
          await two.send(UPGRADE.replace('/up', '/fail'))
          await two.end()
          await until(() => errors().includes('of the upgrade'), 'a line')
          const three = await running[how]()
          assert.equal((await three.exchange(requestText('GET', '/hello'))).status, 200)
        })
      } else {
        test(`are ordinary requests: ${how}`, DEADLINE, async (t) => {
          const one = await (await rig.running(t))[how]()
          const text = requestText('GET', '/length', 'Connection: Upgrade\r\nUpgrade: websocket\r\n')
          for (let round = 0; round < 2; round++) assert.equal((await one.exchange(text)).text, '0')
        })
      }
    }
  })
}

function isReport({ kind }: Report): boolean {
  return kind === 'usage'
}

/** Why the service refuses what comes on `control`. */
async function refusal(control: Socket): Promise<string> {
  const reader = new ReportReader()
  const reports: Report[] = []
  control.on('data', (chunk) => reports.push(...reader.write(chunk as Buffer)))
  await within(once(control, 'close'), 'the end of the control connection')
  const [report] = reports
  return report?.kind === 'refused' ? report.why : JSON.stringify(report)
}
