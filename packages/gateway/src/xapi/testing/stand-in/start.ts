// Starts the stand-in XenAPI for a test, and gives it orders.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Fault, Order } from './main.ts'

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url))

/** A running stand-in. */
export interface StandIn {
  readonly socketPath: string
  /** `https://127.0.0.1:<port>`. */
  readonly url: string
  /** Its own certificate, which signs itself. */
  readonly certificateFile: string
  readonly order: (order: Order) => Promise<unknown>
  readonly fault: (fault: Fault) => Promise<unknown>
  /** A client's session of the user `name`. */
  readonly login: (name: string, originator?: string) => Promise<string>
  /** How often each method was called since this was last asked. */
  readonly calls: () => Promise<Readonly<Record<string, number>>>
  /** The messages that were made, in their order. */
  readonly messages: () => Promise<readonly Message[]>
  readonly stop: () => Promise<void>
}

export interface Message {
  readonly name: string
  readonly priority: number
  readonly obj_uuid: string
  readonly body: string
}

/** Starts it in `directory`, which is the caller's, as `stop` is. The users root (superuser), olga and rita are there. */
export async function startStandIn(directory: string): Promise<StandIn> {
  const [certificateFile, keyFile] = [join(directory, 'xapi-cert.pem'), join(directory, 'xapi-key.pem')]
  makeCertificate(certificateFile, keyFile)
  const socketPath = join(directory, 'xapi')
  const child = spawn(process.execPath, [MAIN, socketPath, certificateFile, keyFile], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const answers = new Map<number, (result: unknown) => void>()
  const ready = Promise.withResolvers<number>()
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line) as { ready?: number; id?: number; result?: unknown }
    if (message.ready !== undefined) ready.resolve(message.ready)
    else answers.get(message.id ?? -1)?.(message.result)
  })
  child.once('exit', () => ready.reject(new Error('the stand-in ended before it was ready')))
  const port = await ready.promise
  let orders = 0
  const order = (of: Order): Promise<unknown> => {
    const id = ++orders
    const { promise, resolve } = Promise.withResolvers<unknown>()
    answers.set(id, resolve)
    child.stdin.write(`${JSON.stringify({ id, ...of })}\n`)
    return promise
  }
  await order({ order: 'add-user', name: 'olga', password: 'olga-pw', role: 'pool-operator' })
  await order({ order: 'add-user', name: 'rita', password: 'rita-pw', role: 'read-only' })
  return {
    socketPath,
    url: `https://127.0.0.1:${port}`,
    certificateFile,
    order,
    fault: (fault) => order({ order: 'fault', fault }),
    login: async (name, originator = '') => String(await order({ order: 'login', name, originator })),
    calls: async () => (await order({ order: 'calls' })) as Record<string, number>,
    messages: async () => (await order({ order: 'messages' })) as Message[],
    stop: async () => {
      child.stdin.end()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}

function makeCertificate(certificateFile: string, keyFile: string): void {
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
  const files = ['-keyout', keyFile, '-out', certificateFile]
  const argv = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
  const { status, stderr } = spawnSync('openssl', [...argv, ...subject, ...files], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`openssl cannot make a certificate: ${stderr}`)
}
