// Entry of a worker process: worker-main.ts BUILD, which is that of the primary.

import { OTHER_BUILD_EXIT, build } from '../version.ts'
import { runWorker } from './worker.ts'

// An upgrade has put other files under a primary that still runs: it may speak otherwise.
if (process.argv[2] === build()) runWorker(process)
else process.exit(OTHER_BUILD_EXIT)
