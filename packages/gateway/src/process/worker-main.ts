// Entry of a worker process.

import { runWorker } from './worker.ts'

runWorker(process)
