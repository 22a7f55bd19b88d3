// All vectors of clients: the corpus of the desync suite and of the fuzzer.

import type { RequestVector } from './vector.ts'
import { CHUNK_VECTORS } from './vectors-chunks.ts'
import { HEAD_VECTORS } from './vectors-heads.ts'
import { LENGTH_VECTORS } from './vectors-length.ts'

export const VECTORS: readonly RequestVector[] = [...LENGTH_VECTORS, ...CHUNK_VECTORS, ...HEAD_VECTORS]
