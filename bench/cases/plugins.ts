// The XenAPI plugin way: xapi forks and executes a program for each call. There is no server: `start` has nothing to do.

import { join } from 'node:path'
import type { Peer } from '../peers/peer.ts'
import type { Case } from './case.ts'

function plugin(name: string, title: string): Peer {
  return {
    name,
    title,
    isGuarded: false,
    async start({ sessions }) {
      return { url: '', pids: [], sessions, stop: async () => {} }
    },
  }
}

export const pythonPlugin: Peer = plugin('plugin-python', 'XenAPI plugin in Python')
export const cPlugin: Peer = plugin('plugin-c', 'XenAPI plugin in C, the smallest')

/** What xapi gives a plugin: the method, the session, and the arguments as a map. */
const CALL = `<?xml version="1.0"?><methodCall><methodName>hello</methodName><params><param><value><string>OpaqueRef:00000000-0000-4000-8000-000000000000</string></value></param><param><value><struct><member><name>name</name><value><string>world</string></value></member></struct></value></param></params></methodCall>`

export const plugins: Case = {
  name: 'plugins',
  title: () => 'A call by the XenAPI plugin mechanism',
  how: 'Fork, exec, XML-RPC from argv, XML-RPC on standard output; CPU of the child alone (user + system), without what xapi itself takes. `native/fork-exec.c`.',
  plots: ['cpuUs'],
  async measure({ bench: { host, programs }, options, peer }) {
    const program =
      peer === cPlugin ? [programs.plugin] : ['/usr/bin/python3', join(import.meta.dirname, '../native/plugin.py')]
    const output = await host.run('peer', programs.forkExec, [String(options.seconds), CALL, ...program])
    const { calls, seconds, cpuUs } = JSON.parse(output) as { calls: number; seconds: number; cpuUs: number }
    return { cpuUs: cpuUs / calls, requestsPerSecond: calls / seconds, busy: cpuUs / seconds / 1e4 }
  },
}
