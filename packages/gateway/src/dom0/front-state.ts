// What is true of the front now: stunnel's file, what stunnel runs with, the gateway and its configuration.

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../config/load.ts'
import { isLoopback } from '../config/addresses.ts'
import type { Config } from '../config/config.ts'
import { derive, deriveScript, dropIn } from './derive.ts'
import { bad, doubt, type Finding, ok } from './findings.ts'
import { type Host, STUNNEL_UNIT } from './host.ts'
import { gatewayFindings, isGatewayAt, isXapiAt } from './probe.ts'
import { lastLine, runProgram } from './programs.ts'

type Env = Readonly<NodeJS.ProcessEnv>

const RESTART = `systemctl restart ${STUNNEL_UNIT}`

/** Which of the two files of `enable` are there. */
export type Installed = 'both' | 'other' | 'none'

/** `other`: one is missing, or is not as this version writes it. */
export function installed(host: Host): Installed {
  const [unit, script] = [textOf(host.dropIn), textOf(host.deriveScript)]
  if (unit === null && script === null) return 'none'
  return unit === dropIn(host) && script === deriveScript(host) ? 'both' : 'other'
}

/** Every line of `front status`. */
export async function frontFindings(host: Host, config: string, env: Env): Promise<Finding[]> {
  return [
    installedFinding(host),
    await derivedFinding(host, env),
    await stunnelFinding(host, env),
    ...(await gatewayFindings(host)),
    ...(await configFindings(host, config)),
    await portFinding(host),
  ]
}

function installedFinding(host: Host): Finding {
  const subject = 'drop-in'
  switch (installed(host)) {
    case 'both':
      return ok(subject, `is there: ${host.dropIn}`)
    case 'other':
      return bad(
        subject,
        `is not as this version writes it: ${host.dropIn}, ${host.deriveScript}`,
        'xengate front enable',
      )
    case 'none':
      return doubt(subject, `is not there: ${host.dropIn}`, 'xengate front enable')
  }
}

/** What xapi's file says now, and whether the derived one follows it. */
async function derivedFinding(host: Host, env: Env): Promise<Finding> {
  const subject = 'derived file'
  const { reason, text } = await derivedNow(host, env)
  if (reason !== null) return bad(subject, `is xapi's own: in ${host.stunnelOwn}, ${reason}`, OWN_PORT)
  const there = textOf(host.stunnelDerived)
  if (there === null) {
    const absent = `is not there: ${host.stunnelDerived}`
    return installed(host) === 'none' ? doubt(subject, absent) : bad(subject, absent, RESTART)
  }
  if (there === text) return ok(subject, `follows ${host.stunnelOwn}`)
  return doubt(subject, `is older than ${host.stunnelOwn}`, `systemctl reload ${STUNNEL_UNIT}`)
}

/** What works whatever stunnel's file says. */
export const OWN_PORT = 'give Xengate a port of its own: [[listen]] with tls, and xengate host open-port PORT'

/** Why no file can be derived from xapi's own now; null when it can. */
export async function doubtOfForm(host: Host, env: Env): Promise<string | null> {
  return (await derivedNow(host, env)).reason
}

async function derivedNow(host: Host, env: Env): Promise<{ readonly reason: string | null; readonly text: string }> {
  if (!existsSync(host.stunnelOwn)) return { reason: 'there is no such file', text: '' }
  const directory = mkdtempSync(join(tmpdir(), 'xengate-'))
  try {
    const into = join(directory, 'derived')
    const reason = await derive(host, host.stunnelOwn, into, env)
    return { reason, text: textOf(into) ?? '' }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Whether stunnel runs, and with the file that it should. */
export async function stunnelFinding(host: Host, env: Env): Promise<Finding> {
  const subject = 'stunnel'
  const ran = await runProgram('systemctl', ['show', STUNNEL_UNIT, '-p', 'MainPID'], { env })
  if (ran.code !== 0) return bad(subject, `cannot be asked about: ${lastLine(ran)}`)
  const pid = Number(/^MainPID=(\d+)$/m.exec(ran.stdout)?.[1] ?? 0)
  if (pid === 0) return bad(subject, 'does not run', RESTART)
  const argv = (textOf(`/proc/${pid}/cmdline`) ?? '').split('\0')
  const isOn = installed(host) !== 'none'
  if (argv.includes(host.stunnelDerived)) {
    const derived = `runs with the derived file, as process ${pid}`
    return isOn ? ok(subject, derived) : bad(subject, derived, 'xengate front disable')
  }
  const own = `runs with xapi's own file, as process ${pid}`
  return isOn ? bad(subject, own, RESTART) : ok(subject, own)
}

/** Whether the configuration makes the gateway what stunnel expects. */
export async function configFindings(host: Host, path: string): Promise<Finding[]> {
  const subject = 'configuration'
  let config
  try {
    config = (await loadConfig(path)).config
  } catch (error) {
    const [first = ''] = (error instanceof Error ? error.message : String(error)).split('\n')
    return [bad(subject, `cannot be used: ${first}`, `xengate check-config --config ${path}`)]
  }
  const wrong = [...listenerProblems(host, config), ...frontProblems(host, config)]
  if (wrong.length === 0) return [ok(subject, `has the listener and [front]: ${path}`)]
  return wrong.map((text) => bad(subject, text, `put what stunnel needs into ${path}, then systemctl reload xengate`))
}

function listenerProblems({ frontSocket }: Host, { listen }: Config): string[] {
  const found = listen.find(({ address }) => address.kind === 'unix' && address.path === frontSocket)
  if (found === undefined) return [`has no [[listen]] with address = "unix:${frontSocket}"`]
  const problems: string[] = []
  if (!found.proxyProtocol) problems.push(`the listener at ${frontSocket} needs proxy-protocol = true`)
  // Who can connect there can claim any address.
  if ((found.mode & 0o066) !== 0) problems.push(`the listener at ${frontSocket} needs mode = "0600", the default`)
  return problems
}

function frontProblems({ xapiPort }: Host, { front }: Config): string[] {
  if (front === null) return ['has no [front]: what is for xapi would be refused']
  const { host, port } = front.upstream
  const problems: string[] = []
  if (!isLoopback(host) || port !== xapiPort) {
    problems.push(`front.upstream is not xapi of this host: it needs "http://127.0.0.1:${xapiPort}"`)
  }
  if (!front.proxyProtocol) problems.push('[front] needs proxy-protocol = true, for xapi to know clients')
  return problems
}

/** What the configuration needs, as it is written. */
export function neededConfig({ frontSocket, xapiPort }: Host): string[] {
  return [
    '[[listen]]',
    `address = "unix:${frontSocket}"`,
    'proxy-protocol = true',
    '',
    '[sessions]',
    'authority = "xapi"',
    '',
    '[front]',
    `upstream = "http://127.0.0.1:${xapiPort}"`,
    'proxy-protocol = true',
  ]
}

/** Who answers clients at stunnel's port. */
export async function portFinding(host: Host): Promise<Finding> {
  const door = stunnelDoor(host)
  if (door === null) return bad('port', `is not known: ${host.stunnelOwn} has no accept`)
  const subject = `port ${door.port}`
  try {
    if (!(await isXapiAt(door))) return bad(subject, 'Xengate answers, but xapi does not', 'systemctl status xapi')
    if (await isGatewayAt(door)) return ok(subject, 'Xengate answers for services, and xapi for all else')
    return (installed(host) === 'none' ? doubt : bad)(subject, 'xapi answers, and Xengate does not')
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return bad(subject, `nobody answers: ${why}`, `systemctl status ${STUNNEL_UNIT} xapi`)
  }
}

/** Where stunnel of this host is to be asked. */
function stunnelDoor(host: Host): { readonly kind: 'tls'; readonly host: string; readonly port: number } | null {
  const accept = /^\[xapi\]$[^[]*?^accept *= *(?:(\S*):)?(\d+) *$/m.exec(textOf(host.stunnelOwn) ?? '')
  if (accept === null) return null
  const address = accept[1] ?? ''
  return { kind: 'tls', host: address === '::1' ? '::1' : '127.0.0.1', port: Number(accept[2]) }
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
