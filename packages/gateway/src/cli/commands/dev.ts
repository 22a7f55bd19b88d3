// xengate dev: a gateway with everything embedded, to try it and to write services against.

import { isAnswered } from '@xengate/channel'
import { SERVICES_PREFIX } from '@xengate/channel/contract'
import { join, relative, resolve } from 'node:path'
import { SOCKET_PATH_BYTES_MAX } from '../../config/addresses.ts'
import { parseConfig } from '../../config/schema.ts'
import type { Config } from '../../config/config.ts'
import { type DemoProcess, startDemo } from '../../demo/child.ts'
import { DEMO_SERVICE } from '../../demo/service.ts'
import { type Log, createLog } from '../../logging/log.ts'
import { CONTROL_SOCKET } from '../../process/control-socket.ts'
import { startPrimary } from '../../process/primary.ts'
import { makeDirectories, makeStateDirectory, whyNot } from '../../state-directory.ts'
import { DEV_USER, type DevUser, prepareUser } from '../dev-user.ts'
import { CliError } from '../errors.ts'
import { type Io, print, sayer } from '../io.ts'
import { DEV_STATE } from '../state.ts'

export interface DevOptions {
  /** 0 lets the system choose. */
  readonly port: number
  readonly state?: string
}

export async function dev(options: DevOptions, io: Io): Promise<number> {
  const stateDir = resolve(io.cwd, options.state ?? DEV_STATE)
  const plugin = join(stateDir, 'plugin')
  checkPathLength(join(plugin, DEMO_SERVICE))
  prepareDirectories(stateDir, plugin)
  if (await isAnswered(join(stateDir, CONTROL_SOCKET))) {
    throw new CliError('state-busy', `a gateway is running with ${shownPath(stateDir, io)} already`)
  }
  const user = await prepareUser(stateDir)
  const config = devConfig(options.port, stateDir, plugin)
  const log = createLog(config.log)
  const demo = await startDemoService(join(plugin, DEMO_SERVICE), log)
  try {
    const primary = await startPrimary({ config, log, print: (line) => print(io, line), ...sayer(io) })
    for (const line of linesToPaste(String(primary.urls[0]), user, io)) print(io, line)
    return await primary.stopped
  } finally {
    await demo.close()
  }
}

function prepareDirectories(stateDir: string, plugin: string): void {
  try {
    makeStateDirectory(stateDir)
    makeDirectories(plugin, 0o700)
  } catch (cause) {
    throw new CliError('state-unusable', `cannot use ${stateDir}: ${whyNot(cause)}`, { cause })
  }
}

function checkPathLength(path: string): void {
  const bytes = Buffer.byteLength(path)
  if (bytes <= SOCKET_PATH_BYTES_MAX) return
  const limit = `the path of a Unix socket may have ${SOCKET_PATH_BYTES_MAX} bytes`
  throw new CliError('state-unusable', `cannot make the socket ${path}: ${limit}, and this has ${bytes}`)
}

/** Enough to try things, with the descriptors that any user has. */
const DEV_CONNECTIONS = 400

function devConfig(port: number, stateDir: string, plugin: string): Config {
  const parsed = parseConfig(
    {
      'state-dir': stateDir,
      workers: 1,
      listen: [{ address: `127.0.0.1:${port}` }],
      services: { directories: [plugin] },
      limits: { connections: DEV_CONNECTIONS },
    },
    stateDir,
  )
  if (parsed.ok) return parsed.config
  throw new CliError(
    'state-unusable',
    `cannot use ${stateDir}: ${parsed.issues.map(({ message }) => message).join('; ')}`,
  )
}

async function startDemoService(path: string, log: Log): Promise<DemoProcess> {
  const demo = await startDemo(path).catch((cause: unknown) => {
    if (cause instanceof Error && cause.name === 'ListenError') throw cause
    throw new CliError('demo-failed', `cannot start the demo service: ${String(cause)}`, { cause })
  })
  void demo.ended.then((code) => log.info({ event: 'demo-ended', code }))
  return demo
}

function linesToPaste(url: string, user: DevUser, io: Io): string[] {
  const service = url + SERVICES_PREFIX + DEMO_SERVICE
  const file = shellWord(shownPath(user.passwordFile, io))
  const login = `{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["${DEV_USER}","'"$(cat ${file})"'"]}`
  const id = `sed 's/.*"result":"\\([^"]*\\)".*/\\1/'`
  const password = user.password === undefined ? 'that was set last' : `${user.password} (kept in ${file})`
  return [
    '',
    `User ${DEV_USER}, password ${password}`,
    '',
    `See what runs, and who is there: sign in at ${url}/`,
    '',
    'Log in, and keep the session id:',
    `  session=$(curl -s -H 'Content-Type: application/json' -d '${login}' ${url}/jsonrpc | ${id})`,
    'Ask the demo service who you are:',
    `  curl -sS -b "session_id=$session" ${service}`,
    'Send it something, and get it back:',
    `  echo hello | curl -sS -b "session_id=$session" -T - ${service}/echo`,
    'Watch its clock:',
    `  curl -sS -N -b "session_id=$session" ${service}/clock`,
    '',
  ]
}

/** Relative to the working directory below it, absolute elsewhere. */
function shownPath(path: string, io: Io): string {
  const below = relative(io.cwd, path)
  return below === '' || below.startsWith('..') ? path : below
}

/** A word of the shell: quoted only when it must be. */
function shellWord(text: string): string {
  return /^[A-Za-z0-9_./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`
}
