// Whether the user that handles clients' bytes gets to services' sockets: on each directory of the way, and on the sockets.

import { lstatSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { accountOf } from '../process/account.ts'
import { isServiceName } from '../services/service-name.ts'
import { bad, doubt, type Finding, ok } from './findings.ts'
import { WORKER_USER } from './host.ts'
import { runProgram } from './programs.ts'

type Env = Readonly<NodeJS.ProcessEnv>

/** Others than root and the owner may not write where services' sockets are: whoever can may pose as a service. */
const OTHERS_WRITE = 0o022
const SOCKETS_MAX = 1000

/** What is to be said of the directory of services at `path`. */
export async function directoryFindings(path: string, env: Env): Promise<Finding[]> {
  const subject = 'services'
  const there = statSync(path, { throwIfNoEntry: false })
  if (there === undefined) {
    return [doubt(subject, `no directory ${path}: nothing is found in it until a service makes it`, `mkdir -p ${path}`)]
  }
  if (!there.isDirectory()) return [bad(subject, `${path} is no directory`, `move it away, and mkdir -p ${path}`)]
  const real = realpathSync(path)
  const sockets = socketsIn(real)
  const way = [...waysTo(real), real]
  const shut = await shutTo(
    way.map((directory) => ({ path: directory, need: 'x' as const })),
    env,
  )
  if (shut === null) return [...writable(real, subject), doubt(subject, notTried(path), ROOT_REMEDY)]
  if (shut.length > 0) return [...writable(real, subject), ...shut.map(shutDirectory)]
  const closed = await shutTo(
    sockets.map((socket) => ({ path: socket, need: 'w' as const })),
    env,
  )
  const name = real === path ? path : `${path} (${real})`
  const found = [...writable(real, subject), ...(closed ?? []).map(closedSocket)]
  return found.length > 0
    ? found
    : [ok(subject, `${name}: ${count(sockets.length)}, all open to the user ${WORKER_USER}`)]
}

const ROOT_REMEDY = 'run this as root, on a host where the package has made the user'

function notTried(path: string): string {
  return `${path}: cannot be tried as the user ${WORKER_USER}`
}

function count(sockets: number): string {
  return sockets === 1 ? '1 socket' : `${sockets} sockets`
}

function shutDirectory(path: string): Finding {
  return bad(
    'services',
    `${path} does not let the user ${WORKER_USER} through`,
    `setfacl -m u:${WORKER_USER}:x ${path}`,
  )
}

function closedSocket(path: string): Finding {
  const remedy = `have the service make it with mode 0666, or setfacl -m u:${WORKER_USER}:rw ${path} after each of its starts`
  return bad('services', `${path} does not let the user ${WORKER_USER} connect`, remedy)
}

function writable(path: string, subject: string): Finding[] {
  const { mode, uid } = statSync(path)
  // With the sticky bit nobody replaces another's socket, but names that are free can be taken.
  if ((mode & OTHERS_WRITE) === 0) return []
  const octal = (mode & 0o7777).toString(8)
  return [
    doubt(subject, `${path} can be written by others than its owner (mode ${octal}, uid ${uid})`, `chmod go-w ${path}`),
  ]
}

/** The directories above `path`, outermost first. */
function waysTo(path: string): string[] {
  const above = dirname(path)
  return above === path ? [] : [...waysTo(above), above]
}

function socketsIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => isServiceName(name) && lstatSync(join(directory, name), { throwIfNoEntry: false })?.isSocket())
    .slice(0, SOCKETS_MAX)
    .map((name) => join(directory, name))
}

interface Wish {
  readonly path: string
  readonly need: 'x' | 'w'
}

/** Which of these the worker user may not use; null when that cannot be tried. The kernel is asked, so that ACLs count. */
async function shutTo(wishes: readonly Wish[], env: Env): Promise<string[] | null> {
  if (wishes.length === 0) return []
  const user = workerUser()
  if (user === null) return null
  const script = 'while [ $# -gt 1 ]; do test "$1" "$2" || printf "%s\\n" "$2"; shift 2; done'
  const argv = wishes.flatMap(({ path, need }) => [`-${need}`, path])
  const ran = await runProgram('/bin/sh', ['-c', script, 'access', ...argv], { env, ...user })
  return ran.code === 0 ? ran.stdout.split('\n').filter((line) => line !== '') : null
}

/** Whom to try it as; null when there is no such user, or this one may not become it. */
function workerUser(): { readonly uid: number; readonly gid: number } | null {
  try {
    const user = accountOf(WORKER_USER)
    const own = process.getuid?.()
    return own === 0 || own === user.uid ? user : null
  } catch {
    return null
  }
}
