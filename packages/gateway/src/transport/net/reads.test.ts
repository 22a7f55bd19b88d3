// What wires read into: no read goes into memory that is somebody else's by then.

import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { type Block, takeBlock } from '../blocks.ts'
import { NOBODY, type Wire } from '../transport.ts'
import { NET } from './transport.ts'

const DEADLINE = { timeout: 30_000 }
/** What a read into memory that all share takes at most. */
const SHARED_BYTES = 65_536
const PIECE = Buffer.alloc(SHARED_BYTES, 'a')

test(
  'a wire that becomes a stream while it reads into a block leaves that alone once it is given back',
  DEADLINE,
  async (t) => {
    const { promise: isRead, resolve: read } = Promise.withResolvers<void>()
    let block: Block | null = null
    const accepted = (wire: Wire): void => {
      let hasEnded = false
      const bytes = (into: Buffer): boolean => {
        if (block !== null) read()
        if (hasEnded || into.length <= SHARED_BYTES) return !hasEnded
        hasEnded = true
        wire.end()
        setImmediate(() => {
          block = takeBlock()
          block?.bytes.fill(0)
        })
        return false
      }
      wire.listener = { ...NOBODY, bytes }
      t.after(() => wire.destroy())
    }
    const listening = await NET.listen({ host: '127.0.0.1', port: 0 }, { accepted, failed: assert.fail })
    const peer = connect({ port: listening.port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {})
    t.after(() => {
      peer.destroy()
      listening.close()
    })
    const send = (): void => {
      while (!peer.destroyed && peer.write(PIECE));
    }
    peer.on('drain', send)
    send()
    await isRead
    assert.ok(block !== null && (block as Block).bytes.every((byte) => byte === 0), 'it was read into')
  },
)
