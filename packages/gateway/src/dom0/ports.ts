// Ports of the host's firewall: opened by the ways that the host has for it, and closed again. What was opened here is recorded,
// so that exactly that is taken back.

import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { makeStateDirectory } from '../state-directory.ts'
import type { Host } from './host.ts'
import { lastLine, type Ran, runProgram } from './programs.ts'

type Env = Readonly<NodeJS.ProcessEnv>

/** By what a port was opened. */
type Firewall = 'firewalld' | 'iptables'

/** A port that was opened here. */
export interface OpenedPort {
  readonly port: number
  readonly by: Firewall
}

/** A port cannot be opened or closed. */
export class PortError extends Error {
  override readonly name = 'PortError'
  readonly code: 'port-reserved' | 'port-unknown' | 'firewall-unknown' | 'firewall-failed'

  constructor(code: PortError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** Ports of the host's own: open as the host has them. */
const RESERVED: Readonly<Record<number, string>> = { 22: 'ssh', 80: 'xapi', 443: "xapi's stunnel" }

/**
 * Opens `port` for TCP, now and after a restart of the host. Answers `false` when it was open before: then it is not recorded.
 *
 * @throws {PortError}
 */
export async function openPort(host: Host, port: number, env: Env): Promise<boolean> {
  requireOwn(port)
  const by = await firewallOf(host, env)
  const before = openedPorts(host)
  if (await isOpen(by, port, env)) return before.some((one) => one.port === port)
  // Recorded first: a port that is recorded and not open is closed again without harm.
  record(host, [...before.filter((one) => one.port !== port), { port, by }])
  const problem = await change(host, { port, by }, 'open', env)
  if (problem === null) return true
  // firewalld may have taken one half of it.
  await change(host, { port, by }, 'close', env)
  record(host, before)
  throw new PortError('firewall-failed', `cannot open port ${port} by ${by}: ${problem}`)
}

/** Closes a port that was opened here. @throws {PortError} */
export async function closePort(host: Host, port: number, env: Env): Promise<void> {
  requireOwn(port)
  const opened = openedPorts(host)
  const found = opened.find((one) => one.port === port)
  if (found === undefined) {
    const all = opened.length === 0 ? 'none' : opened.map((one) => one.port).join(', ')
    throw new PortError('port-unknown', `port ${port} was not opened by xengate; opened: ${all}`)
  }
  const problem = await change(host, found, 'close', env)
  if (problem !== null) throw new PortError('firewall-failed', `cannot close port ${port} by ${found.by}: ${problem}`)
  record(
    host,
    opened.filter((one) => one !== found),
  )
}

/** What was opened here and not closed since. A record that cannot be read is empty: nothing is closed on a guess. */
export function openedPorts({ openedPorts: path }: Host): OpenedPort[] {
  try {
    const all: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return Array.isArray(all) ? all.filter(isOpened) : []
  } catch {
    return []
  }
}

function isOpened(value: unknown): value is OpenedPort {
  if (typeof value !== 'object' || value === null || !('port' in value) || !('by' in value)) return false
  const { port, by } = value
  const isPort = Number.isInteger(port) && Number(port) > 0 && Number(port) <= 65_535
  return isPort && !Object.hasOwn(RESERVED, String(port)) && (by === 'firewalld' || by === 'iptables')
}

function record({ openedPorts: path }: Host, opened: readonly OpenedPort[]): void {
  if (opened.length === 0) {
    rmSync(path, { force: true })
    return
  }
  makeStateDirectory(dirname(path))
  rmSync(`${path}.new`, { force: true })
  writeFileSync(`${path}.new`, `${JSON.stringify(opened)}\n`, { mode: 0o600, flag: 'wx' })
  renameSync(`${path}.new`, path)
}

function requireOwn(port: number): void {
  const owner = RESERVED[port]
  if (owner !== undefined) throw new PortError('port-reserved', `port ${port} is for ${owner}: it stays as it is`)
}

/** Which firewall the host runs. @throws {PortError} */
async function firewallOf({ firewallPlugin }: Host, env: Env): Promise<Firewall> {
  if ((await runProgram('firewall-cmd', ['--state'], { env })).code === 0) return 'firewalld'
  if (existsSync(firewallPlugin)) return 'iptables'
  const none = `neither firewalld runs nor is ${firewallPlugin} there`
  throw new PortError('firewall-unknown', `cannot tell which firewall this host has: ${none}`)
}

async function isOpen(by: Firewall, port: number, env: Env): Promise<boolean> {
  if (by === 'firewalld') {
    return (await runProgram('firewall-cmd', ['--permanent', `--query-port=${port}/tcp`], { env })).code === 0
  }
  // The rule as the plugin makes it; its own "check" says open for closed.
  const rule = ['-p', 'tcp', '-m', 'conntrack', '--ctstate', 'NEW', '-m', 'tcp', '--dport', `${port}`, '-j', 'ACCEPT']
  return (await runProgram('iptables', ['-C', 'xapi-INPUT', ...rule], { env })).code === 0
}

/** Returns what went wrong; null when nothing did. */
async function change(host: Host, { port, by }: OpenedPort, how: 'open' | 'close', env: Env): Promise<string | null> {
  if (by === 'iptables') return problemOf(await runProgram(host.firewallPlugin, [how, String(port), 'tcp'], { env }))
  const option = `--${how === 'open' ? 'add' : 'remove'}-port=${port}/tcp`
  const kept = problemOf(await runProgram('firewall-cmd', ['--permanent', option], { env }))
  return kept ?? problemOf(await runProgram('firewall-cmd', [option], { env }))
}

function problemOf(ran: Ran): string | null {
  return ran.code === 0 ? null : lastLine(ran)
}
