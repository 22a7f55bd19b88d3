// A process that logs, for the test of several processes on one pipe: writer.ts NAME LINES. Every seventh line is longer
// than a pipe keeps in one piece.

import { setImmediate } from 'node:timers/promises'
import { createLog } from '../log.ts'

const [name = '', lines = '0'] = process.argv.slice(2)
const log = createLog({ level: 'info' })
for (let index = 0; index < Number(lines); index++) {
  const length = index % 7 === 0 ? 5000 : (index * 37) % 1200
  log.info({ event: 'line', name, index, text: name.repeat(length) })
  if (index % 16 === 0) await setImmediate()
}
