#!/opt/xengate/bin/node
// What xapi runs for `xe host-call-plugin plugin=xengate`, and for the calls Xengate.get_status and Xengate.get_services of its API:
//
//   plugin       argv[2] is an XML-RPC call: method `status` or `services`
//   extension    argv[2] is --xmlrpc, and standard input is an XML-RPC call of the method's whole name
//   by hand      argv[2] is `status` or `services`, and the answer is JSON; a status report takes it so
//
// The answer to xapi is XML-RPC on standard output, whose value is a string of JSON, or a failure with its code. A process of its own for
// each call: it loads next to nothing.

import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, resolve } from 'node:path'

const CONFIG = process.env['XENGATE_CONFIG'] ?? '/etc/xengate/xengate.toml'
const STATE_DIRECTORY = '/var/lib/xengate'
/** Connecting to a service that hangs takes the daemon a second. */
const ANSWER_MS = 8000
const ANSWER_CHARACTERS_MAX = 4_194_304

/** What xapi tells its client: a code, and texts. */
class Failure extends Error {
  readonly description: readonly string[]

  constructor(...description: readonly string[]) {
    super(description.join(': '))
    this.description = description
  }
}

const NOT_RUNNING = 'Xengate is not running on this host. Start it: systemctl start xengate'
const NOT_PERMITTED = 'Xengate answers root alone. Run this as root'

/** Where the daemon keeps its socket: the one key that is looked for, without what would read the whole file. A relative path is from there. */
function stateDirectory(): string {
  try {
    const [, path] = /^\s*state-dir\s*=\s*["']([^"'\n]+)["']/m.exec(readFileSync(CONFIG, 'utf8')) ?? []
    return path === undefined ? STATE_DIRECTORY : resolve(dirname(CONFIG), path)
  } catch {
    return STATE_DIRECTORY
  }
}

/** The daemon's answer to `GET path`. @throws {Failure} */
function ask(path: string): Promise<string> {
  const { promise, resolve: fulfil, reject } = Promise.withResolvers<string>()
  const socket = connect(`${stateDirectory()}/control.sock`)
  const timer = setTimeout(() => {
    socket.destroy()
    reject(new Failure('XENGATE_NO_ANSWER', 'Xengate runs and does not answer. See: journalctl -u xengate'))
  }, ANSWER_MS)
  let text = ''
  // In version 1.0 the response ends with the connection.
  socket.write(`GET ${path} HTTP/1.0\r\n\r\n`)
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    if (text.length > ANSWER_CHARACTERS_MAX) socket.destroy()
  })
  socket.once('error', ({ code }: NodeJS.ErrnoException) => {
    const isForbidden = code === 'EACCES' || code === 'EPERM'
    reject(
      isForbidden
        ? new Failure('XENGATE_NOT_PERMITTED', NOT_PERMITTED)
        : new Failure('XENGATE_NOT_RUNNING', NOT_RUNNING),
    )
  })
  socket.once('close', () => {
    clearTimeout(timer)
    const [, status, body = ''] = /^HTTP\/1\.1 (\d+) [^]*?\r\n\r\n([^]*)$/.exec(text) ?? []
    if (status !== '200') {
      reject(new Failure('XENGATE_FAILED', `Xengate answered ${status ?? 'with nothing'}. See: journalctl -u xengate`))
    } else if (isWhole(body)) fulfil(body.trim())
    else reject(new Failure('XENGATE_FAILED', "Xengate's answer is not complete. See: journalctl -u xengate"))
  })
  return promise
}

/** Whether nothing was cut off: of an object or an array, no beginning is JSON. */
function isWhole(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

const PATHS: ReadonlyMap<string, string> = new Map([
  ['status', '/status'],
  ['services', '/services'],
  ['Xengate.get_status', '/status'],
  ['Xengate.get_services', '/services'],
])

/** @param unknown code of the failure when there is no such method */
function call(method: string, unknown: string): Promise<string> {
  const path = PATHS.get(method)
  if (path === undefined) throw new Failure(unknown, method)
  return ask(path)
}

/** The method of an XML-RPC call; its parameters are a session, and arguments that nobody needs here. */
function methodOf(xml: string): string {
  return /<methodName>\s*([^<]{0,100})<\/methodName>/.exec(xml)?.[1]?.trim() ?? ''
}

/** A string of XML-RPC in ASCII: what is beyond that is written as JSON has it, or by its number. */
function stringOf(text: string): string {
  const escaped = text.replace(/[&<>]/g, (character) => `&#${character.charCodeAt(0)};`)
  // oxlint-disable-next-line no-control-regex -- control characters are what it is about
  return `<value><string>${escaped.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\uffff]/g, escapeOf)}</string></value>`
}

function escapeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function member(name: string, value: string): string {
  return `<member><name>${name}</name>${value}</member>`
}

function response(status: 'Success' | 'Failure', rest: string): string {
  const members = member('Status', stringOf(status)) + rest
  return `<?xml version="1.0"?>\n<methodResponse><params><param><value><struct>${members}</struct></value></param></params></methodResponse>\n`
}

function failureOf(error: unknown): string {
  const description = error instanceof Failure ? error.description : ['XENGATE_FAILED', String(error)]
  const values = description.map((text) => stringOf(text)).join('')
  return response('Failure', member('ErrorDescription', `<value><array><data>${values}</data></array></value>`))
}

async function answerXapi(xml: string, unknown: string): Promise<string> {
  try {
    return response('Success', member('Value', stringOf(await call(methodOf(xml), unknown))))
  } catch (error) {
    return failureOf(error)
  }
}

async function main(argument: string): Promise<void> {
  if (argument === '--xmlrpc') {
    process.stdout.write(await answerXapi(readFileSync(0, 'utf8'), 'MESSAGE_METHOD_UNKNOWN'))
  } else if (argument.includes('<')) {
    process.stdout.write(await answerXapi(argument, 'UNKNOWN_XENAPI_PLUGIN_FUNCTION'))
  } else {
    try {
      process.stdout.write(`${await call(argument, 'UNKNOWN_FUNCTION')}\n`)
    } catch (error) {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
      process.exitCode = 1
    }
  }
}

await main(process.argv[2] ?? '')
