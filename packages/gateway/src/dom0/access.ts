// Whether the user that handles clients' bytes gets to services' sockets: on each directory of the way, and on the sockets.

import { lstatSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Account, accountOf } from '../process/account.ts'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import { isServiceName } from '@xengate/channel/contract'
import { bad, doubt, type Finding, ok } from './findings.ts'
import { lastLine, runProgram } from './programs.ts'

type Env = Readonly<NodeJS.ProcessEnv>

/** Others than root and the owner may not write where services' sockets are: whoever can may pose as a service. */
const OTHERS_WRITE = 0o022
const SOCKETS_MAX = 1000

/** What is to be said of the directory of services at `path`. @param user whose way in is tried: by name or number */
export async function directoryFindings(path: string, user: string | number, env: Env): Promise<Finding[]> {
  const subject = 'services'
  const there = statSync(path, { throwIfNoEntry: false })
  if (there === undefined) {
    return [doubt(subject, `no directory ${path}: nothing is found in it until a service makes it`, `mkdir -p ${path}`)]
  }
  if (!there.isDirectory()) return [bad(subject, `${path} is no directory`, `move it away, and mkdir -p ${path}`)]
  const real = realpathSync(path)
  const sockets = socketsIn(real)
  const account = accountToTry(user)
  if (account === null) return [...writable(real), doubt(subject, `${path}: ${notTried(user)}`, ROOT_REMEDY)]
  const shut = await shutTo(account, 'x', [...waysTo(real), real], env)
  // What is below the outermost one cannot be looked at.
  if (shut[0] !== undefined) return [...writable(real), shutDirectory(shut[0], user)]
  const closed = await shutTo(account, 'w', sockets, env)
  const found = [...writable(real), ...closed.map((one) => closedSocket(one, user))]
  if (found.length > 0) return found
  const name = real === path ? path : `${path} (${real})`
  return [ok(subject, `${name}: ${count(sockets.length)}, all open to the user ${user}`)]
}

const ROOT_REMEDY = 'run this as root, on a host where the package has made the user'

function notTried(user: string | number): string {
  return `whether the user ${user} gets in cannot be tried`
}

function count(sockets: number): string {
  return sockets === 1 ? '1 socket' : `${sockets} sockets`
}

function shutDirectory(path: string, user: string | number): Finding {
  return bad('services', `${path} does not let the user ${user} through`, `setfacl -m u:${user}:x ${path}`)
}

function closedSocket(path: string, user: string | number): Finding {
  const remedy = `have the service make it with mode 0666, or setfacl -m u:${user}:rw ${path} after each of its starts`
  return bad('services', `${path} does not let the user ${user} connect`, remedy)
}

function writable(path: string): Finding[] {
  const { mode, uid } = statSync(path)
  // With the sticky bit nobody replaces another's socket, but names that are free can be taken.
  if ((mode & OTHERS_WRITE) === 0) return []
  const octal = (mode & 0o7777).toString(8)
  return [
    doubt(
      'services',
      `${path} can be written by others than its owner (mode ${octal}, uid ${uid})`,
      `chmod go-w ${path}`,
    ),
  ]
}

/** The directories above `path`, outermost first. */
function waysTo(path: string): string[] {
  const above = dirname(path)
  return above === path ? [] : [...waysTo(above), above]
}

function socketsIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name !== CONTROL_SERVICE && isServiceName(name))
    .filter((name) => lstatSync(join(directory, name), { throwIfNoEntry: false })?.isSocket())
    .slice(0, SOCKETS_MAX)
    .map((name) => join(directory, name))
}

/** Which of `paths` the account may not enter (x) or write to (w). The kernel is asked, so that ACLs count. */
async function shutTo(account: Account, need: 'x' | 'w', paths: readonly string[], env: Env): Promise<string[]> {
  const script = `for path; do test -${need} "$path" || printf '%s\\n' "$path"; done`
  const ran = await runProgram('/bin/sh', ['-c', script, 'access', ...paths], { env, ...account })
  if (ran.code !== 0) throw new Error(`cannot try access as another user: ${lastLine(ran)}`)
  return ran.stdout.split('\n').filter((line) => line !== '')
}

/** Whom to try it as; null when there is no such user, or this one may not become it. */
function accountToTry(user: string | number): Account | null {
  try {
    const account = accountOf(user)
    const own = process.getuid?.()
    return own === 0 || own === account.uid ? account : null
  } catch {
    return null
  }
}
