// npm run chaos: what goes wrong on a host, under load that notices all of it, on each transport.

import { parseArgs } from 'node:util'
import { probeRing } from '../../packages/gateway/src/transport/ring/probe.ts'
import { Scope } from '../harness/scope.ts'
import { crowd } from './crowd.ts'
import { chaosOfFaults } from './faults.ts'
import { longLoad } from './load.ts'
import { writeReport } from './load-report.ts'
import { chaosOfUpgrades } from './upgrade.ts'

const HELP = `npm run chaos -- upgrade|faults|load|crowd [options]

upgrade: clients that must not notice reloads and upgrades
  --reloads N         reloads that need other workers (default 20)
  --upgrades N        upgrades (default 5)
  --kept N            clients that keep their connection (default 2000)
  --fresh N           clients that connect for each request, one after the other (default 64)
  --processes N       processes of clients (default 4)
  --channels N        clients on channels (default 200)
  --websockets N      clients on WebSockets (default 200)

faults: processes are killed and stopped, the disk is filled, connections are cut, while every answer is checked
  --faults N          how many (default 48)
  --clients N         clients that ask at once (default 24)
  --seed N            the same gives the same faults in the same order (default: by chance; it is printed)
  --authority NAMES   embedded, valkey, or embedded,valkey (default: both)

load: for a long time at 70 % of capacity, with sessions, services and channels that come and go, reloads and upgrades
  --minutes N         how long (default 60)
  --out DIRECTORY     where samples, as CSV, and plots go (default: nowhere)
  --kept N, --clients N

crowd: many services, and many clients that keep their connections
  --services N        services (default 1000)
  --connections N     clients, which ask 2,000 times a second together (default 10000)
  --processes N, --minutes N

  --transport NAMES   net, ring, or net,ring (default: both; the ring where it works)
  --help              this text
`

const OPTIONS = {
  services: { type: 'string', default: '1000' },
  connections: { type: 'string', default: '10000' },
  reloads: { type: 'string', default: '20' },
  upgrades: { type: 'string', default: '5' },
  kept: { type: 'string', default: '2000' },
  fresh: { type: 'string', default: '64' },
  processes: { type: 'string', default: '4' },
  channels: { type: 'string', default: '200' },
  websockets: { type: 'string', default: '200' },
  faults: { type: 'string', default: '48' },
  clients: { type: 'string', default: '24' },
  seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  authority: { type: 'string', default: 'embedded,valkey' },
  transport: { type: 'string', default: 'net,ring' },
  minutes: { type: 'string', default: '60' },
  out: { type: 'string', default: '' },
  help: { type: 'boolean', default: false },
} as const

/** The part of a long load's requests that may be refused or cut: the machine may be busy with something else. */
const NOT_SERVED_MAX = 0.01

const NAMES: ReadonlySet<string> = new Set(['net', 'ring', 'embedded', 'valkey'])

// Not by itself: Node.js 26.10 was seen to spin for ever in closing sockets that were cut, after all had been said.
process.exit(await main())

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: OPTIONS })
  const { help, transport, authority, out, ...numbers } = values
  const count = (name: keyof typeof numbers): number => Number(numbers[name])
  const what = positionals.join(' ')
  const lists = [...transport.split(','), ...authority.split(',')]
  const isUsedWell =
    ['upgrade', 'faults', 'load', 'crowd'].includes(what) &&
    Object.values(numbers).every((text) => /^\d+$/.test(text)) &&
    count('processes') >= 1 &&
    lists.every((name) => NAMES.has(name))
  if (help || !isUsedWell) {
    process.stderr.write(HELP)
    return help ? 0 : 2
  }
  let isGood = true
  for (const name of transport.split(',')) {
    const probed = probeRing()
    if (name === 'ring' && !probed.works) say(`ring: left out, ${probed.reason}`)
    else if (what === 'upgrade') isGood = (await upgrades(name, count)) && isGood
    else if (what === 'load') isGood = (await load(name, count, out)) && isGood
    else if (what === 'crowd') isGood = (await crowded(name, count)) && isGood
    else for (const one of authority.split(',')) isGood = (await faults(name, one, count)) && isGood
  }
  return isGood ? 0 : 1
}

type Count = (name: Exclude<keyof typeof OPTIONS, 'help' | 'transport' | 'authority' | 'out'>) => number

async function upgrades(transport: string, count: Count): Promise<boolean> {
  const scope = new Scope()
  try {
    const {
      count: counts,
      troubles,
      seconds,
    } = await chaosOfUpgrades(scope, {
      transport,
      reloads: count('reloads'),
      upgrades: count('upgrades'),
      kept: count('kept'),
      fresh: count('fresh'),
      processes: count('processes'),
      channels: count('channels'),
      webSockets: count('websockets'),
      say,
    })
    const rate = Math.round(counts.answered / seconds)
    say(`${transport}: ${JSON.stringify(counts)} in ${seconds.toFixed(1)} s, ${rate} answers a second`)
    for (const trouble of troubles) say(trouble)
    return counts.refused + counts.reset + counts.lost + counts.ended === 0
  } finally {
    await scope.close()
  }
}

async function load(transport: string, count: Count, out: string): Promise<boolean> {
  const scope = new Scope()
  try {
    const plan = { transport, minutes: count('minutes'), clients: count('clients'), kept: count('kept'), say }
    const report = await longLoad(scope, plan)
    const { tally, reasons, churn, capacity, leftOut, wrong } = report
    say(
      `${transport}: capacity ${capacity.toFixed(0)}/s, ${JSON.stringify({ ...tally, ...churn, leftOut })}, ${wrong.length} wrong`,
    )
    for (const [reason, times] of reasons) say(`${times} times ${reason}`)
    for (const line of wrong) say(line)
    if (out !== '') writeReport(out, transport, report)
    const isServed = capacity > 0 && tally.refused + tally.cut <= tally.right * NOT_SERVED_MAX
    if (!isServed) say(`more than ${NOT_SERVED_MAX * 100} % was refused or cut, although nothing is broken here`)
    return wrong.length === 0 && isServed
  } finally {
    await scope.close()
  }
}

async function crowded(transport: string, count: Count): Promise<boolean> {
  const scope = new Scope()
  try {
    const [services, connections] = [count('services'), count('connections')]
    const wrong = await crowd(scope, {
      transport,
      services,
      connections,
      processes: count('processes'),
      minutes: count('minutes'),
      say,
    })
    for (const line of wrong.slice(0, 20)) say(line)
    say(`${transport}: ${wrong.length} wrong`)
    return wrong.length === 0
  } finally {
    await scope.close()
  }
}

async function faults(transport: string, authority: string, count: Count): Promise<boolean> {
  say(`${transport}, ${authority}: seed ${count('seed')}`)
  const scope = new Scope()
  try {
    const plan = { transport, seed: count('seed'), faults: count('faults'), clients: count('clients'), say }
    const { tally, wrong } = await chaosOfFaults(scope, {
      ...plan,
      authority: authority === 'valkey' ? 'valkey' : 'embedded',
    })
    say(`${transport}, ${authority}: ${JSON.stringify(tally)}, ${wrong.length} wrong`)
    for (const line of wrong.slice(0, 20)) say(line)
    return wrong.length === 0
  } finally {
    await scope.close()
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
