// npm run fuzz: minutes of bent inputs for all that reads what others send.

import { test } from '../../packages/gateway/src/proxy/testing/each-transport.ts'
import { parseArgs } from 'node:util'
import { fuzz, tryAgain } from './fuzz.ts'
import { TARGETS, WITH_TRANSPORT } from './targets.ts'

const HELP = `npm run fuzz -- [options]

  --minutes N     minutes in all (default 10)
  --seed N        of the inputs (default: another one each time)
  --only NAMES    of ${TARGETS.map(({ name }) => name).join(', ')} (default: all)
  --input FILE    tries one input again, of the one target that --only names
  --help          this text
`

const SEED_MAX = 2 ** 32

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * SEED_MAX)) },
    only: { type: 'string', default: TARGETS.map(({ name }) => name).join(',') },
    input: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const names = values.only.split(',')
const targets = TARGETS.filter(({ name }) => names.includes(name))
const [minutes, seed] = [Number(values.minutes), Number(values.seed)]
const isRight = minutes > 0 && Number.isInteger(seed) && targets.length === names.length

if (values.help || !isRight) {
  process.stdout.write(HELP)
  process.exitCode = values.help ? 0 : 2
} else {
  // What has a transport runs on each, and has its share for each.
  const shares = targets.reduce((sum, { name }) => sum + (WITH_TRANSPORT.has(name) ? 2 : 1), 0)
  const seconds = (minutes * 60) / shares
  const transports = new Map<string, number>()
  for (const target of targets) {
    test(target.name, { timeout: (minutes + 2) * 60_000 }, async (t) => {
      const runs = (transports.get(target.name) ?? 0) + 1
      transports.set(target.name, runs)
      if (runs > 1 && !WITH_TRANSPORT.has(target.name)) t.skip('the transport is no part of it')
      else if (values.input === undefined) await fuzz(t, target, { seconds, seed })
      else await tryAgain(t, target, values.input)
    })
  }
}
