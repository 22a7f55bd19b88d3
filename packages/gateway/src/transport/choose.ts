// Which transport a worker has: what the configuration asks for, as far as it works here.

import type { TransportWanted } from '../model/transport.ts'
import { NET } from './net/transport.ts'
import type { Transport } from './transport.ts'

/** A transport, and why it is this one, in words. */
export interface ChosenTransport {
  readonly transport: Transport
  readonly reason: string
}

/** Why `auto` does not take the ring: docs/decisions/0093. */
const AUTO = 'auto: io_uring is to be measured on more machines first; transport = "ring" asks for it'

/** Chooses. The ring is loaded, and tried, only where it is asked for. */
export async function chooseTransport(wanted: TransportWanted): Promise<ChosenTransport> {
  if (wanted === 'net') return { transport: NET, reason: 'as configured' }
  if (wanted === 'auto') return { transport: NET, reason: AUTO }
  const { probeRing } = await import('./ring/probe.ts')
  const probed = probeRing()
  if (!probed.works) return { transport: NET, reason: probed.reason }
  const { RING, prepare } = await import('./ring/transport.ts')
  try {
    // What was tried is smaller than what is used.
    prepare()
  } catch (error) {
    return { transport: NET, reason: `io_uring fails: ${error instanceof Error ? error.message : String(error)}` }
  }
  return { transport: RING, reason: 'as configured' }
}
