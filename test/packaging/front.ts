// The installed RPM before xapi at port 443, as its own configuration and its own commands have it: a real stunnel beside it, a
// stand-in for xapi behind both, and a network in which ports 80 and 443 are free.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { stunnelFile } from '../../packages/gateway/src/dom0/testing/stunnel-file.ts'
import { type StandIn, startXapi } from '../harness/backends.ts'
import { Child, run } from '../harness/child.ts'
import { until } from '../harness/deadline.ts'
import { makePem } from '../harness/dom0.ts'
import type { Scope } from '../harness/scope.ts'
import { serveHttp } from '../harness/services.ts'
import type { Root } from './root.ts'
import { Service } from './service.ts'

const NAME = 'com.example.sensors'
const DROP_IN = 'etc/systemd/system/stunnel@xapi.service.d/50-xengate-front.conf'
const SCRIPT = 'etc/xengate/stunnel-front.sh'
/** What is put into the root, and taken out again. */
const OURS = [
  'opt/stunnel',
  'usr/bin/stunnel',
  'usr/lib/systemd/system/stunnel@.service',
  'etc/stunnel',
  'etc/xensource-inventory',
]

/** Uses all of it, step by step. The root is as it was when the scope ends. */
export async function useFront(root: Root, scope: Scope): Promise<void> {
  const client = await Client.make(root, scope)
  const service = new Service(root, 'usr/lib/systemd/system/xengate.service')
  scope.defer(() => service.stop())
  await service.start()

  assert.match(await xengate(root, 'host', 'check'), /^ok +services +.*1 socket, all open to the user xengate$/m)
  await assertBefore(client)
  await xengate(root, 'front', 'enable')
  await assertOn(root, client)

  await service.kill()
  await assertXapiAlone(client)
  await service.start()
  await assertOn(root, client)
  await assertHungWorkerIsReplaced(root, service, client)
  await service.stop()
  await assertXapiAlone(client)
  await service.start()
  await assertOn(root, client)

  await xengate(root, 'front', 'disable')
  await assertXapiAlone(client)
  for (const path of [DROP_IN, SCRIPT, 'run/xengate-front']) assert.ok(!root.has(path), path)
}

function xengate(root: Root, ...argv: string[]): Promise<string> {
  return root.run(['/usr/bin/xengate', ...argv])
}

async function assertBefore(client: Client): Promise<void> {
  assert.equal((await client.service('none')).isXapi, true)
  assert.match(client.lastProxyLine, /^PROXY TCP6 ::ffff:127\.0\.0\.1 ::ffff:127\.0\.0\.1 \d+ 443$/)
}

/** Log in at xapi, and reach a service by that session, at one port. */
async function assertOn(root: Root, client: Client): Promise<void> {
  const session = await client.login()
  assert.match(client.lastProxyLine, /^PROXY TCP6 ::ffff:127\.0\.0\.1 /)
  const { status, text } = await client.service(session)
  assert.deepEqual([status, text], [200, 'user root'])
  assert.equal((await client.service('none')).status, 403)
  assert.match(await xengate(root, 'front', 'status'), /^ok +port 443 +Xengate answers for services, and xapi/m)
}

/** From the next connection on, without a reload of anything. */
async function assertXapiAlone(client: Client): Promise<void> {
  assert.ok((await client.login()) !== '')
  assert.equal((await client.service('none')).isXapi, true)
}

/** stunnel would wait for it for ever: the primary does not. */
async function assertHungWorkerIsReplaced(root: Root, service: Service, client: Client): Promise<void> {
  const session = await client.login()
  const [, worker = 0] = await service.pids()
  process.kill(worker, 'SIGSTOP')
  const waiting = client.service(session)
  // Meanwhile, since it takes some seconds.
  await xengate(root, 'host', 'save')
  await assert.rejects(xengate(root, 'host', 'restore'), /\[config-there\]/)
  await xengate(root, 'host', 'restore', '--force')
  assert.deepEqual(await waiting, { status: 200, text: 'user root', isXapi: false })
  await until(async () => !(await service.pids()).includes(worker), 'the end of the worker')
}

interface Answer {
  readonly status: number
  readonly text: string
  /** By the stand-in, and not by Xengate. */
  readonly isXapi: boolean
}

/** A client of the host, in its network. */
class Client {
  readonly #scope: Scope
  readonly #within: readonly string[]
  readonly #port: Child

  private constructor(scope: Scope, within: readonly string[], port: Child) {
    this.#scope = scope
    this.#within = within
    this.#port = port
  }

  /** Makes the root a host, on which stunnel, xapi and a service run. */
  static async make(root: Root, scope: Scope): Promise<Client> {
    const within = await root.becomeMachine(scope)
    const standIn = await startXapiIn(root, scope)
    const [command, ...argv] = [...within, process.execPath, join(import.meta.dirname, 'xapi-port.ts')]
    const port = new Child(scope, command, [...argv, standIn.socketPath])
    await port.printed(({ stdout }) => stdout.startsWith('listening\n') || undefined, 'its start')
    const socket = root.path(`var/xapi/plugin/${NAME}`)
    await serveHttp(scope, socket, ({ headers }, response) =>
      response.end(`user ${String(headers['x-xen-session-user'])}`),
    )
    chmodSync(socket, 0o666)
    await installStunnel(root, scope)
    return new Client(scope, within, port)
  }

  /** What xapi's port was told last of where a client is. */
  get lastProxyLine(): string {
    return this.#port.stdout.trimEnd().split('\n').at(-1) ?? ''
  }

  async login(): Promise<string> {
    const params = ['root', 'root-pw', '1.0', 'test']
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'session.login_with_password', params })
    const { text } = await this.#ask('/jsonrpc', '--data', body)
    const { result } = JSON.parse(text) as { result?: unknown }
    assert.equal(typeof result, 'string', text)
    return String(result)
  }

  service(session: string): Promise<Answer> {
    return this.#ask(`/services/plugin/${NAME}`, '--cookie', `session_id=${session}`)
  }

  async #ask(path: string, ...options: string[]): Promise<Answer> {
    const curl = [
      'curl',
      '-sS',
      '--insecure',
      '--max-time',
      '45',
      '--write-out',
      '\n%{http_code} %header{x-request-id}',
    ]
    const [command, ...argv] = [...this.#within, ...curl, ...options, `https://127.0.0.1${path}`]
    const { stdout, stderr } = await run(this.#scope, command, argv, { deadlineMs: 50_000 })
    const [, text = '', status, id] = /^([^]*)\n(\d+) (.*)$/.exec(stdout) ?? []
    assert.notEqual(status, undefined, `${stdout}${stderr}`)
    return { status: Number(status), text, isXapi: id === '' }
  }
}

/** Where a host has its socket. */
async function startXapiIn(root: Root, scope: Scope): Promise<StandIn> {
  const standIn = await startXapi(scope)
  root.write(
    'etc/xensource-inventory',
    "PRODUCT_BRAND='XCP-ng'\nINSTALLATION_UUID='11111111-2222-3333-4444-555555555555'\n",
  )
  const directory = root.path('var/lib/xcp')
  mkdirSync(directory)
  scope.defer(() => rmSync(directory, { recursive: true }))
  execFileSync('ln', [standIn.socketPath, join(directory, 'xapi')])
  return standIn
}

/** Debian's stunnel with its own libraries, its unit, and xapi's file for it; then starts it. */
async function installStunnel(root: Root, scope: Scope): Promise<void> {
  scope.onFailure(
    () =>
      `systemctl was told\n${root.read('var/log/systemctl.log')}\nand stunnel said\n${root.read('var/log/journal')}`,
  )
  scope.defer(() => OURS.forEach((path) => rmSync(root.path(path), { recursive: true, force: true })))
  mkdirSync(root.path('opt/stunnel'))
  const libraries = execFileSync('ldd', ['/usr/bin/stunnel'], { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g)
  // Which libc loads when a thread ends.
  const unwinder = execFileSync('gcc', ['-print-file-name=libgcc_s.so.1'], { encoding: 'utf8' }).trim()
  for (const file of ['/usr/bin/stunnel', unwinder, ...[...libraries].map(([, path = '']) => path)]) {
    copyFileSync(file, root.path(join('opt/stunnel', basename(file))))
  }
  const exec = '/opt/stunnel/ld-linux-x86-64.so.2 --library-path /opt/stunnel /opt/stunnel/stunnel "$@"'
  install(root, 'usr/bin/stunnel', `#!/bin/sh\nexec ${exec}\n`)
  const unit = 'ExecStart=/usr/bin/stunnel /etc/stunnel/xapi.conf\nExecReload=/bin/kill -HUP $MAINPID\n'
  install(root, 'usr/lib/systemd/system/stunnel@.service', `[Service]\n${unit}`)
  mkdirSync(root.path('etc/stunnel'))
  await makePem(scope, root.path('etc/stunnel/pem'))
  const files = {
    certificate: '/etc/stunnel/pem',
    poolCertificate: '/etc/stunnel/pem',
    pidFile: '/var/log/stunnel.pid',
  }
  root.write('etc/stunnel/xapi.conf', stunnelFile(files))
  replaceSystemctl(root, scope)
  await root.run(['/usr/bin/systemctl', 'daemon-reload'])
  await root.run(['/usr/bin/systemctl', 'restart', 'stunnel@xapi'])
}

/** One that does for stunnel what systemd does. */
function replaceSystemctl(root: Root, scope: Scope): void {
  const path = 'usr/bin/systemctl'
  const before = root.read(path)
  scope.defer(() => install(root, path, before))
  const script = readFileSync(join(import.meta.dirname, '../harness/systemctl.sh'), 'utf8')
  install(root, path, script.replace('\n', '\nROOT= STATE=/var/log\n'))
}

function install(root: Root, path: string, text: string): void {
  mkdirSync(dirname(root.path(path)), { recursive: true })
  root.write(path, text)
  chmodSync(root.path(path), 0o755)
}
