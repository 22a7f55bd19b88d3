// Straight to the service: what the machine can do at all. The service is the peer, on the peer's core.

import { startService } from '../bench.ts'
import type { Peer } from './peer.ts'

export const direct: Peer = {
  name: 'direct',
  title: 'no gateway',
  isGuarded: false,
  async start({ host, programs, sessions }) {
    const { pid, port, stop } = await startService(host, programs, 'peer', ['-t', '0'])
    return { url: `http://127.0.0.1:${port}`, pids: [pid], sessions, stop }
  },
}
