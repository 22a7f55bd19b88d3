// Preloaded into a daemon: says how many blocks its worker has in use, in a file called after its process.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { blocksInUse } from '../../packages/gateway/src/transport/blocks.ts'

const LOOK_AGAIN_MS = 100

const directory = process.env['SOAK_BLOCKS'] ?? ''
let said = -1
setInterval(() => {
  const count = blocksInUse()
  if (count !== said) writeFileSync(join(directory, `${process.pid}.blocks`), String(count))
  said = count
}, LOOK_AGAIN_MS).unref()
