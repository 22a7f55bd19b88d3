// npm run soak: minutes of random traffic through the real daemon on each transport, every byte of which is compared.

import { parseArgs } from 'node:util'
import { probeRing } from '../../packages/gateway/src/transport/ring/probe.ts'
import { Scope } from '../harness/scope.ts'
import { soak, SoakError } from './soak.ts'

const HELP = `npm run soak -- [options]

  --minutes N         minutes on each transport (default 10)
  --transport NAMES   net, ring, or net,ring (default: both; the ring where it works)
  --seed N            of the traffic (default: another one each time); what a seed plans is the same each time,
                      what happens at the same time is not
  --help              this text
`

const SEED_MAX = 2 ** 32

process.exitCode = await main()

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      transport: { type: 'string', default: 'net,ring' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * SEED_MAX)) },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    process.stdout.write(HELP)
    return 0
  }
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)]
  const transports = (['net', 'ring'] as const).filter((name) => values.transport.split(',').includes(name))
  if (!(minutes > 0) || !Number.isInteger(seed) || transports.length === 0) {
    process.stderr.write(HELP)
    return 2
  }
  for (const transport of transports) if (!(await run(transport, minutes * 60, seed))) return 1
  return 0
}

async function run(transport: 'net' | 'ring', seconds: number, seed: number): Promise<boolean> {
  const probed = probeRing()
  if (transport === 'ring' && !probed.works) {
    say(`ring: left out, ${probed.reason}`)
    return true
  }
  const scope = new Scope()
  try {
    say(`${transport}: ${seconds} s, --seed ${seed}`)
    const { before, after, ...done } = await soak(scope, { transport, seconds, seed, say })
    say(
      `${transport}: all right: ${JSON.stringify(done)}; in use before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`,
    )
    return true
  } catch (error) {
    if (!(error instanceof SoakError)) throw error
    say(error.message)
    return false
  } finally {
    await scope.close()
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
