// Which transport a worker has: what the configuration asks for, as far as it works here.

import type { TransportWanted } from '../model/transport.ts'
import { NET } from './net/transport.ts'
import type { Transport } from './transport.ts'

/** A transport, and why it is this one, in words. */
export interface ChosenTransport {
  readonly transport: Transport
  readonly reason: string
}

/** Chooses. The ring is loaded, and tried, only where it is asked for. */
export async function chooseTransport(wanted: TransportWanted): Promise<ChosenTransport> {
  if (wanted === 'net') return { transport: NET, reason: 'as configured' }
  if (wanted === 'auto') return { transport: NET, reason: 'io_uring is used where transport = "ring" asks for it' }
  const { probeRing } = await import('./ring/probe.ts')
  const probed = probeRing()
  if (!probed.works) return { transport: NET, reason: probed.reason }
  const { RING } = await import('./ring/transport.ts')
  return { transport: RING, reason: 'as configured' }
}
