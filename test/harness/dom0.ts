// A host below a directory: stunnel with a file as xapi writes it, started as systemd does, and xapi's port behind it.

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

  private constructor(scope: Scope, root: string, xapi: { port: number; heads: string[] }, file: StunnelFile) {
    this.#scope = scope
    this.#file = file
    this.host = hostAt(root, xapi.port)
    this.port = file.port
    this.heads = xapi.heads
    this.env = { ROOT: root, PATH: `${join(root, 'bin')}:${process.env['PATH']}` }
  }

  /** @param accept what stands before the port in stunnel's file */
  static async make(scope: Scope, accept: string): Promise<Dom0> {
    const root = await scope.directory()
    const xapi = await serveXapi(scope)
    const pem = join(root, 'pem')
    await makePem(scope, pem)
    const files = { certificate: pem, poolCertificate: pem, pidFile: join(root, 'stunnel.pid'), clientName: null }
    const dom0 = new Dom0(scope, root, xapi, { accept, port: await freePort(), xapiPort: xapi.port, ...files })
    for (const path of [dom0.host.stunnelOwn, dom0.host.frontSocket, dom0.host.inventory, dom0.host.dropIn]) {
      mkdirSync(dirname(path), { recursive: true })
    }
    writeFileSync(
      dom0.host.inventory,
      `PRODUCT_BRAND='XCP-ng'\nPRODUCT_VERSION='8.3.0'\nINSTALLATION_UUID='${HOST_UUID}'\n`,
    )
    dom0.writeOwn()
    await dom0.#installUnit()
    return dom0
  }

  /** Writes stunnel's file as xapi does at its start. */
  writeOwn(differences: Partial<StunnelFile> = {}): void {
    const text = stunnelFile({ ...this.#file, ...differences })
    // Where no system log runs, what stunnel says is for a failing test.
    writeFileSync(this.host.stunnelOwn, `output = ${join(this.host.root, 'stunnel.log')}\n${text}`, { mode: 0o600 })
  }

  async #installUnit(): Promise<void> {
    const { root, stunnelOwn } = this.host
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
    mkdirSync(dirname(this.host.config), { recursive: true })
    copyFileSync(path, this.host.config)
  }
}

/** Key and certificate in one file, for RSA: the ciphers of stunnel's file are for no other. */
async function makePem(scope: Scope, path: string): Promise<void> {
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
