// The ring, with completions in any order: many connections echo at a time, and every byte comes back in its place.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { join } from 'node:path'
import { fixture, request } from '../../../packages/gateway/src/proxy/testing/fixture.ts'
import { transportOf } from '../../../packages/gateway/src/proxy/testing/each-transport.ts'
import { VectorClient } from '../../desync/client.ts'
import { StrictService } from '../../desync/strict-service.ts'
import { Random } from '../../soak/random.ts'
import { shuffleCompletions } from '../shuffle.ts'
import type { Target } from '../target.ts'

const CLIENTS_MAX = 40

/** On another transport there is nothing to shuffle. */
export const RING: Target = {
  name: 'ring',
  async start(t) {
    const { port, directory } = await fixture(t)
    const service = new StrictService()
    await service.listen(join(directory, 'svc'), true)
    t.after(() => service.close())
    // The loop has its ring once something is open.
    await once(net.connect(port, '127.0.0.1'), 'connect')
    const stop = transportOf(t).name === 'ring' ? shuffleCompletions(new Random(1)) : (): number => 0
    let isStopped = false
    let count = 0
    const finish = (): number => {
      if (isStopped) return 0
      isStopped = true
      return stop()
    }
    t.after(() => void finish())
    return {
      make: (random) => ({
        clients: random.integer(2, CLIENTS_MAX),
        requests: random.integer(1, 6),
        bytes: random.integer(0, random.isSo(0.1) ? 200_000 : 2000),
        leaving: random.integer(0, 3),
      }),
      attempt: async ({ clients, requests, bytes, leaving }) => {
        service.seen.length = 0
        const all = Array.from({ length: Number(clients) }, () => new VectorClient(port, false))
        const text = Array.from({ length: Number(requests) }, (_, index) => {
          return request('PUT', `/${index}`, `Content-Length: ${Number(bytes)}\r\n`, 'x'.repeat(Number(bytes)))
        }).join('')
        const methods = Array.from({ length: Number(requests) }, () => 'PUT')
        await Promise.all(
          all.map(async (client, index) => {
            await client.write(text)
            // Some go while others are served.
            if (index < Number(leaving)) {
              client.destroy()
              return
            }
            await client.answered(methods.length, methods)
            client.end()
            await client.ended()
            const { messages, error, rest } = client.answers(methods)
            assert.deepEqual([messages.length, error, rest], [methods.length, null, ''], client.text.slice(0, 500))
            assert.ok(messages.every(({ startLine, body }) => startLine.endsWith('200 OK') && body === 'ok'))
            count += messages.length
          }),
        )
        for (const client of all) client.destroy()
        assert.deepEqual(service.faults, [])
        assert.ok(service.seen.every(({ text: seen }) => seen.length - seen.lastIndexOf(' ') - 1 === bytes))
      },
      finish: () => `${count} answers, ${finish()} completions in another place`,
    }
  },
}
