// Hosts of a network that a test can pull the cables of: network namespaces on one bridge. Making them takes root.

import { spawnSync } from 'node:child_process'
import type { Scope } from './scope.ts'

/** A host: a namespace with the address 10.99.0.<number>. */
export interface Host {
  readonly address: string
  /** Runs what follows it on the host. */
  readonly within: readonly string[]
  readonly unplug: () => void
  readonly plug: () => void
}

/** Hosts that see each other, until the scope ends. The first one has the bridge, and cannot be unplugged. */
export function makeNetwork(scope: Scope, count: number): Host[] {
  const bridge = `xg${process.pid}-0`
  return Array.from({ length: count }, (_, index) => {
    const name = `xg${process.pid}-${index}`
    const address = `10.99.0.${index + 1}`
    const within = ['ip', 'netns', 'exec', name]
    ip('netns', 'add', name)
    scope.defer(() => ip('netns', 'del', name))
    ip('-n', name, 'link', 'set', 'lo', 'up')
    if (index === 0) {
      ip('-n', name, 'link', 'add', 'eth0', 'type', 'bridge')
    } else {
      ip('-n', name, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `port${index}`, 'netns', bridge)
      ip('-n', bridge, 'link', 'set', `port${index}`, 'master', 'eth0', 'up')
    }
    ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    return {
      address,
      within,
      unplug: () => ip('-n', bridge, 'link', 'set', `port${index}`, 'down'),
      plug: () => ip('-n', bridge, 'link', 'set', `port${index}`, 'up'),
    }
  })
}

function ip(...argv: string[]): void {
  const { status, stderr } = spawnSync('ip', argv, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${argv.join(' ')}: ${stderr}`)
}
