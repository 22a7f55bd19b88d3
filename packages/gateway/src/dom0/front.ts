// Takes stunnel's port for Xengate, and gives it back. Nothing of xapi's is written to: a drop-in of stunnel's unit and a script
// are put beside it, and removed again.

import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { deriveScript, dropIn } from './derive.ts'
import { type Finding, findingLines } from './findings.ts'
import {
  configFindings,
  doubtOfForm,
  frontFindings,
  installed,
  neededConfig,
  portFinding,
  stunnelFinding,
} from './front-state.ts'
import { type Host, STUNNEL_UNIT } from './host.ts'
import { localXapi, openPoolRecord } from './pool-record.ts'
import { gatewayFindings } from './probe.ts'
import { lastLine, runProgram } from './programs.ts'

type Env = Readonly<NodeJS.ProcessEnv>

/** A step cannot be done. `lines` say more, and come before the sentence. */
export class FrontError extends Error {
  override readonly name = 'FrontError'
  readonly code: 'front-not-possible' | 'front-failed' | 'not-confirmed'
  readonly lines: readonly string[]

  constructor(code: FrontError['code'], message: string, lines: readonly string[] = []) {
    super(message)
    this.code = code
    this.lines = lines
  }
}

/** What `enable` is told, and how it tells what it does. */
export interface EnableOptions {
  readonly config: string
  /** Go on although high availability is on, or nobody can tell. */
  readonly isConfirmed: boolean
  readonly env: Env
  readonly say: (line: string) => void
}

/**
 * Has stunnel ask Xengate first. Everything is looked at before anything is changed, and taken back when it does not work.
 *
 * @throws {FrontError}
 */
export async function enableFront(host: Host, options: EnableOptions): Promise<void> {
  const { config, env, say } = options
  await requireReady(host, config, env)
  if (installed(host) === 'both' && (await isInForce(host, config, env))) {
    say('nothing to do')
    return
  }
  await requireConfirmation(host, options)
  say(`writing ${host.dropIn} and ${host.deriveScript}`)
  writeOwn(host.deriveScript, deriveScript(host), 0o755)
  writeOwn(host.dropIn, dropIn(host), 0o644)
  say(`restarting ${STUNNEL_UNIT}: connections by TLS that are open end; xapi is not restarted`)
  const problem = (await restartStunnel(env)) ?? (await problemOfPort(host, config, env))
  if (problem === null) return
  say('it does not work: taking it back')
  await takeBack(host, env)
  throw new FrontError('front-failed', 'stunnel did not reach Xengate, and has what it had before', problem)
}

/** Whether clients reach Xengate, by stunnel's own word and by asking. */
async function isInForce(host: Host, config: string, env: Env): Promise<boolean> {
  return (await frontFindings(host, config, env)).every(({ verdict }) => verdict === 'ok')
}

async function requireReady(host: Host, config: string, env: Env): Promise<void> {
  const doubtful = await doubtOfForm(host, env)
  if (doubtful !== null) {
    throw new FrontError('front-not-possible', `stunnel's file ${host.stunnelOwn} is not as it is known: ${doubtful}`)
  }
  const wrong = wrongOf(await configFindings(host, config))
  if (wrong.length > 0) {
    const needed = neededConfig(host).map((line) => `  ${line}`.trimEnd())
    const lines = [...findingLines(wrong), '', `What stunnel needs in ${config}:`, '', ...needed, '']
    throw new FrontError('front-not-possible', 'the configuration is not made for it', lines)
  }
  const silent = wrongOf(await gatewayFindings(host))
  if (silent.length > 0) {
    throw new FrontError('front-not-possible', 'the gateway is not ready for clients', findingLines(silent))
  }
}

async function requireConfirmation(host: Host, { isConfirmed, env, say }: EnableOptions): Promise<void> {
  const ha = await highAvailability(host, env)
  if (ha === 'off') return
  say(
    ha === 'on'
      ? 'High availability (HA) is on in this pool.'
      : 'xapi does not say whether high availability (HA) is on in this pool.',
  )
  say(`${STUNNEL_UNIT} is restarted: connections by TLS end, those between hosts of the pool too, and are made again.`)
  say('xapi itself is not restarted, and the health check of HA goes past stunnel, so that no host should be fenced.')
  say('This was not tried on a pool with HA: switch HA off first if you can (xe pool-ha-disable).')
  if (!isConfirmed) throw new FrontError('not-confirmed', 'nothing was changed: say --yes to go on')
}

async function highAvailability(host: Host, env: Env): Promise<'on' | 'off' | 'unknown'> {
  try {
    const pool = await openPoolRecord(localXapi(host), env)
    try {
      return (await pool.hasHa()) ? 'on' : 'off'
    } finally {
      await pool.close()
    }
  } catch {
    return 'unknown'
  }
}

/** Gives stunnel back to xapi alone. Needs nothing of Xengate's, and can be repeated. @throws {FrontError} */
export async function disableFront(host: Host, env: Env, say: (line: string) => void): Promise<void> {
  const areFilesThere = installed(host) !== 'none'
  if (!areFilesThere && (await stunnelFinding(host, env)).verdict === 'ok') {
    say('nothing to do')
    return
  }
  if (areFilesThere) say(`removing ${host.dropIn} and ${host.deriveScript}`)
  say(`restarting ${STUNNEL_UNIT}: connections by TLS that are open end; xapi is not restarted`)
  const problem = await takeBack(host, env)
  if (problem === null) return
  throw new FrontError('front-failed', `the files are removed, but ${STUNNEL_UNIT} was not restarted`, problem)
}

async function takeBack(host: Host, env: Env): Promise<readonly string[] | null> {
  for (const path of [host.dropIn, host.deriveScript]) rmSync(path, { force: true })
  const problem = await restartStunnel(env)
  // Until it was restarted, stunnel reads the derived file again at each reload.
  if (problem === null) rmSync(dirname(host.stunnelDerived), { recursive: true, force: true })
  return problem
}

/** Returns what went wrong; null when nothing did. */
async function restartStunnel(env: Env): Promise<readonly string[] | null> {
  for (const argv of [['daemon-reload'], ['restart', STUNNEL_UNIT]]) {
    const ran = await runProgram('systemctl', argv, { env })
    if (ran.code !== 0) return [`systemctl ${argv.join(' ')}: ${lastLine(ran)}`]
  }
  return null
}

async function problemOfPort(host: Host, config: string, env: Env): Promise<readonly string[] | null> {
  const { verdict } = await portFinding(host)
  if (verdict === 'ok') return null
  return findingLines(wrongOf(await frontFindings(host, config, env)))
}

function wrongOf(findings: readonly Finding[]): Finding[] {
  return findings.filter(({ verdict }) => verdict === 'bad')
}

function writeOwn(path: string, text: string, mode: number): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text, { mode })
  chmodSync(path, mode)
}
