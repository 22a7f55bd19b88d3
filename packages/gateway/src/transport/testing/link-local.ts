// A process in a network of its own, whose loopback has a link-local address: prints the ends of a connection to that, as the transport
// of its argument has them.

import { once } from 'node:events'
import { connect } from 'node:net'
import { type Ends, type End, NOBODY } from '../transport.ts'
import { transportNamed } from './transports.ts'

const { promise, resolve } = Promise.withResolvers<{ source: End | null; ends: Ends | null }>()
const listening = await transportNamed(process.argv[2]).listen(
  { host: '::', port: 0 },
  {
    accepted: (wire) => {
      wire.listener = NOBODY
      resolve({ source: wire.source, ends: wire.ends })
      wire.destroy()
    },
    failed: (code) => {
      throw new Error(code)
    },
  },
)
const client = connect({ host: 'fe80::1%lo', port: listening.port })
await once(client, 'connect')
const { source, ends } = await promise
process.stdout.write(JSON.stringify([source?.address, ends?.source.address, ends?.destination.address]))
client.destroy()
listening.close()
