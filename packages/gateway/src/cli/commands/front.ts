// xengate front: stunnel asks Xengate before xapi, or does not.

import { configPath } from '../checked-config.ts'
import { disableFront, enableFront } from '../../dom0/front.ts'
import { type Finding, findingLines } from '../../dom0/findings.ts'
import { frontFindings, installed } from '../../dom0/front-state.ts'
import { type Host, hostAt, STUNNEL_UNIT } from '../../dom0/host.ts'
import { EXIT, requireRoot } from '../errors.ts'
import { type Io, print, say } from '../io.ts'

export interface FrontOptions {
  readonly config?: string
  readonly yes?: boolean
  readonly json?: boolean
}

export async function enable({ config, yes = false }: FrontOptions, io: Io, host: Host = hostAt('')): Promise<number> {
  requireRoot(host.root)
  const path = configPath(config, io)
  await enableFront(host, { config: path, isConfirmed: yes, env: io.env, say: (line) => say(io, line) })
  say(io, 'the front is on: services are reached at the port of the host, and xapi answers when Xengate is down')
  say(io, 'take it back with: xengate front disable')
  return EXIT.ok
}

export async function disable(_options: FrontOptions, io: Io, host: Host = hostAt('')): Promise<number> {
  requireRoot(host.root)
  await disableFront(host, io.env, (line) => say(io, line))
  say(io, 'the front is off: stunnel leads to xapi alone')
  return EXIT.ok
}

export async function status({ config, json }: FrontOptions, io: Io, host: Host = hostAt('')): Promise<number> {
  requireRoot(host.root)
  const findings = await frontFindings(host, config ?? io.defaultConfig, io.env)
  const isOn = findings.every(({ verdict }) => verdict === 'ok')
  const changes = { enable: changesOfEnable(host, findings), disable: changesOfDisable(host, findings) }
  if (json === true) print(io, JSON.stringify({ on: isOn, findings, changes }, null, 2))
  else {
    print(io, `the front is ${stateOf(host, findings)}\n`)
    for (const line of findingLines(findings)) print(io, line)
    print(io, '')
    for (const [name, lines] of Object.entries(changes)) {
      print(io, `xengate front ${name} would: ${lines.length === 0 ? 'change nothing' : lines.join('; ')}`)
    }
  }
  return isOn ? EXIT.ok : EXIT.failed
}

function stateOf(host: Host, findings: readonly Finding[]): string {
  if (findings.every(({ verdict }) => verdict === 'ok')) return 'on'
  if (installed(host) !== 'none') return 'on, and not all of it works'
  return isStunnelRight(findings) ? 'off' : 'off, but stunnel is not as it should be'
}

function isStunnelRight(findings: readonly Finding[]): boolean {
  return findings.some(({ subject, verdict }) => subject === 'stunnel' && verdict === 'ok')
}

const RESTART = `restart ${STUNNEL_UNIT}, which ends connections by TLS`

/** What has to be right before `enable` changes anything. */
const PRECONDITIONS: ReadonlySet<string> = new Set(['gateway', 'configuration'])

function changesOfEnable(host: Host, findings: readonly Finding[]): string[] {
  if (findings.every(({ verdict }) => verdict === 'ok')) return []
  const missing = findings.filter(({ subject, verdict }) => verdict === 'bad' && PRECONDITIONS.has(subject))
  if (missing.length > 0) return [`refuse, because of the ${missing[0]?.subject}`]
  return [`write ${host.dropIn} and ${host.deriveScript}`, RESTART]
}

function changesOfDisable(host: Host, findings: readonly Finding[]): string[] {
  if (installed(host) === 'none') return isStunnelRight(findings) ? [] : [RESTART]
  return [`remove ${host.dropIn} and ${host.deriveScript}`, RESTART]
}
