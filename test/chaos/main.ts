// npm run chaos -- upgrade: many clients through reloads and upgrades on each transport, none of which may notice anything.

import { parseArgs } from 'node:util'
import { probeRing } from '../../packages/gateway/src/transport/ring/probe.ts'
import { Scope } from '../harness/scope.ts'
import { chaosOfUpgrades, type UpgradePlan } from './upgrade.ts'

const HELP = `npm run chaos -- upgrade [options]

  --reloads N         reloads that need other workers (default 20)
  --upgrades N        upgrades (default 5)
  --kept N            clients that keep their connection (default 2000)
  --fresh N           clients that connect for each request, one after the other (default 64)
  --processes N       processes of clients (default 4)
  --channels N        clients on channels (default 200)
  --websockets N      clients on WebSockets (default 200)
  --transport NAMES   net, ring, or net,ring (default: both; the ring where it works)
  --help              this text
`

process.exitCode = await main()

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      reloads: { type: 'string', default: '20' },
      upgrades: { type: 'string', default: '5' },
      kept: { type: 'string', default: '2000' },
      fresh: { type: 'string', default: '64' },
      processes: { type: 'string', default: '4' },
      channels: { type: 'string', default: '200' },
      websockets: { type: 'string', default: '200' },
      transport: { type: 'string', default: 'net,ring' },
      help: { type: 'boolean', default: false },
    },
  })
  const [reloads = 0, upgrades = 0, kept = 0, fresh = 0, processes = 0, channels = 0, webSockets = 0] = [
    values.reloads,
    values.upgrades,
    values.kept,
    values.fresh,
    values.processes,
    values.channels,
    values.websockets,
  ].map(Number)
  const isUsedWell =
    positionals.join(' ') === 'upgrade' &&
    [reloads, upgrades, kept, fresh, channels, webSockets].every((count) => count >= 0)
  if (values.help || !isUsedWell || !(processes >= 1)) {
    process.stderr.write(HELP)
    return values.help ? 0 : 2
  }
  const transports = values.transport.split(',')
  for (const transport of transports) {
    const probed = probeRing()
    if (transport === 'ring' && !probed.works) say(`ring: left out, ${probed.reason}`)
    else if (!(await run({ transport, reloads, upgrades, kept, fresh, processes, channels, webSockets, say }))) return 1
  }
  return 0
}

async function run(plan: UpgradePlan): Promise<boolean> {
  const scope = new Scope()
  try {
    const { count, troubles, seconds } = await chaosOfUpgrades(scope, plan)
    const rate = Math.round(count.answered / seconds)
    say(`${plan.transport}: ${JSON.stringify(count)} in ${seconds.toFixed(1)} s, ${rate} answers a second`)
    for (const trouble of troubles) say(trouble)
    return count.refused + count.reset + count.lost + count.ended === 0
  } finally {
    await scope.close()
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
