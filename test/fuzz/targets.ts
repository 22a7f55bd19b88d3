// All that is fuzzed.

import type { Target } from './target.ts'
import { CODEC } from './targets/codec.ts'
import { GATEWAY } from './targets/gateway.ts'
import { RING } from './targets/ring.ts'
import { CHANNEL, CONFIG, PROXY_HEADER, XENAPI } from './targets/small.ts'

export const TARGETS: readonly Target[] = [CODEC, GATEWAY, XENAPI, CHANNEL, PROXY_HEADER, CONFIG, RING]

/** Those of which the transport is a part: they run on each. */
export const WITH_TRANSPORT: ReadonlySet<string> = new Set([GATEWAY.name, RING.name])
