// A host below a directory: stunnel's file as xapi writes it, xapi's port behind it, and stunnel, started as systemd does.

import { once } from 'node:events'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { Writable } from 'node:stream'
import { connect } from 'node:tls'
import { type Host, hostAt } from '../../packages/gateway/src/dom0/host.ts'
import { stunnelFile, type StunnelFile } from '../../packages/gateway/src/dom0/testing/stunnel-file.ts'
import type { Io } from '../../packages/gateway/src/cli/io.ts'
import { reportFailure } from '../../packages/gateway/src/cli/errors.ts'
import { run } from './child.ts'
import { within } from './deadline.ts'
import type { Scope } from './scope.ts'
import { freePort } from './tls.ts'

export const HOST_UUID = '11111111-2222-3333-4444-555555555555'

/** See the head of this file. */
export class Dom0 {
  readonly host: Host
  /** stunnel's port, for clients. */
  readonly port: number
  /** Heads of what has come to xapi's port, PROXY line first. */
  readonly heads: string[]
  readonly env: Readonly<Record<string, string>>
  readonly #scope: Scope
  readonly #file: StunnelFile

  private constructor(scope: Scope, host: Host, heads: string[], file: StunnelFile) {
    const { root } = host
    this.#scope = scope
    this.#file = file
    this.host = host
    this.port = file.port
    this.heads = heads
    this.env = { ROOT: root, PATH: `${join(root, 'bin')}:${process.env['PATH']}` }
  }

  /** @param accept what stands before the port in stunnel's file. @param xapiSocket of the stand-in that commands ask */
  static async make(scope: Scope, accept: string, xapiSocket?: string): Promise<Dom0> {
    const root = await scope.directory()
    chmodSync(root, 0o755)
    const xapi = await serveXapi(scope)
    const pem = join(root, 'pem')
    const at = hostAt(root, xapi.port)
    const host = { ...at, xapiSocket: xapiSocket ?? at.xapiSocket }
    const files = { certificate: pem, poolCertificate: pem, pidFile: join(root, 'stunnel.pid'), clientName: null }
    const dom0 = new Dom0(scope, host, xapi.heads, { accept, port: await freePort(), xapiPort: xapi.port, ...files })
    for (const path of [host.stunnelOwn, host.frontSocket, host.inventory, host.dropIn, host.config]) {
      mkdirSync(dirname(path), { recursive: true })
    }
    writeFileSync(host.inventory, `PRODUCT_BRAND='XCP-ng'\nPRODUCT_VERSION='8.3.0'\nINSTALLATION_UUID='${HOST_UUID}'\n`)
    dom0.writeOwn()
    return dom0
  }

  /** Writes stunnel's file as xapi does at its start. */
  writeOwn(differences: Partial<StunnelFile> = {}): void {
    const text = stunnelFile({ ...this.#file, ...differences })
    // Where no system log runs, what stunnel says is for a failing test.
    writeFileSync(this.host.stunnelOwn, `output = ${join(this.host.root, 'stunnel.log')}\n${text}`, { mode: 0o600 })
  }

  /** Starts stunnel by its unit, with a program in the place of systemctl. */
  async startStunnel(): Promise<void> {
    const { root, stunnelOwn } = this.host
    await makePem(this.#scope, this.#file.certificate)
    const unit = join(root, 'usr/lib/systemd/system/stunnel@.service')
    mkdirSync(dirname(unit), { recursive: true })
    const exec = `ExecStart=/usr/bin/stunnel ${stunnelOwn}\nExecReload=/bin/kill -HUP $MAINPID\n`
    writeFileSync(unit, `[Service]\n${exec}Type=forking\nPrivateTmp=true\n`)
    this.install('systemctl', readFileSync(new URL('systemctl.sh', import.meta.url), 'utf8'))
    this.#scope.defer(() => this.systemctl('stop'))
    this.#scope.onFailure(() => `stunnel said\n${this.text('stunnel.log')}\nand its unit\n${this.text('journal')}`)
    await this.systemctl('daemon-reload')
    await this.systemctl('restart')
  }

  /** Puts a program into the path of commands. */
  install(name: string, text: string): void {
    mkdirSync(join(this.host.root, 'bin'), { recursive: true })
    writeFileSync(join(this.host.root, 'bin', name), text)
    chmodSync(join(this.host.root, 'bin', name), 0o755)
  }

  async systemctl(verb: string): Promise<void> {
    const argv = verb === 'daemon-reload' ? [verb] : [verb, 'stunnel@xapi']
    const ran = await run(this.#scope, join(this.host.root, 'bin/systemctl'), argv, { env: this.env })
    if (ran.code !== 0) throw new Error(`systemctl ${verb}: ${ran.stderr}${this.text('journal')}`)
  }

  /** The text of a file below the root; empty when it is not there. */
  text(path: string): string {
    const there = join(this.host.root, path)
    return existsSync(there) ? readFileSync(there, 'utf8') : ''
  }

  /** What a new client gets at stunnel's port: who answers, and what xapi was told, if it was asked. */
  async ask(
    target: string,
    servername = '',
  ): Promise<{ readonly status: number; readonly body: string; proxy: string }> {
    this.heads.length = 0
    const socket = connect({ host: '127.0.0.1', port: this.port, rejectUnauthorized: false, servername })
    this.#scope.defer(() => void socket.destroy())
    socket.write(`GET ${target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`)
    let answer = ''
    socket.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk))
    await within(once(socket, 'close'), `the answer to ${target}`)
    const [head = '', body = ''] = answer.split('\r\n\r\n')
    const [proxy = ''] = (this.heads[0] ?? '').split('\r\n')
    return { status: Number(head.slice(9, 12)), body: body.trim(), proxy }
  }

  /** Runs a command of the command line on this host. */
  async command(
    work: (io: Io, host: Host) => Promise<number>,
  ): Promise<{ code: number; stdout: string; stderr: string }> {
    const [stdout, stderr] = [new Kept(), new Kept()]
    const io = {
      stdin: process.stdin,
      stdout,
      stderr,
      env: this.env,
      cwd: this.host.root,
      defaultConfig: this.host.config,
    }
    const code = await work(io, this.host).catch((error: unknown) => reportFailure(error, io))
    return { code, stdout: stdout.text, stderr: stderr.text }
  }

  /** Puts a daemon's configuration where the host has it. */
  useConfig(path: string): void {
    copyFileSync(path, this.host.config)
  }

  /** Writes the configuration of a gateway that is ready for the front. @param more keys of the top. @param tables the last ones */
  writeConfig(more: string, tables: string): void {
    const { frontSocket, xapiPort, xapiSocket, pluginDirectory, root, config } = this.host
    writeFileSync(
      config,
      `state-dir = "${root}/var/lib/xengate"
${more}
[[listen]]
address = "unix:${frontSocket}"
proxy-protocol = true
[services]
directories = ["${pluginDirectory}"]
[sessions]
authority = "xapi"
[sessions.xapi]
url = "unix:${xapiSocket}"
[front]
upstream = "http://127.0.0.1:${xapiPort}"
proxy-protocol = true
${tables}`,
    )
  }
}

/** Key and certificate in one file, for RSA: the ciphers of stunnel's file are for no other. */
export async function makePem(scope: Scope, path: string): Promise<void> {
  const argv = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=host-a']
  const ran = await run(scope, 'openssl', [...argv, '-keyout', path, '-out', `${path}.certificate`])
  if (ran.code !== 0) throw new Error(`openssl: ${ran.stderr}`)
  writeFileSync(path, readFileSync(path, 'utf8') + readFileSync(`${path}.certificate`, 'utf8'), { mode: 0o600 })
}

/** Keeps what is written. */
class Kept extends Writable {
  text = ''

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString('utf8')
    done()
  }
}

/** Where xapi takes plain HTTP: each request gets `xapi`, and its head is kept. */
async function serveXapi(scope: Scope): Promise<{ port: number; heads: string[] }> {
  const heads: string[] = []
  const server = createServer((socket) => {
    let head = ''
    socket.on('error', () => {})
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      head += chunk
      if (!head.includes('\r\n\r\n')) return
      heads.push(head)
      socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nxapi\n')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.defer(() => void server.close())
  return { port: (server.address() as AddressInfo).port, heads }
}
