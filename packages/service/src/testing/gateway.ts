// Plays the gateway: takes clients on a TCP port, reads their first bytes, passes the connection to a service, and answers on a
// Unix socket what the service forwards. It admits whoever comes.

import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net, { type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ChannelOffer, openChannel, type Report, ReportReader } from '@xengate/channel'

export const SERVICE_NAME = 'com.example.svc'
export const SESSION_ID = 'OpaqueRef:11111111-1111-4111-8111-111111111111'
export const TARGET: string = `/services/plugin/${SERVICE_NAME}`
/** Cookie line of the session that channels are opened for. */
export const COOKIE: string = `Cookie: session_id=${SESSION_ID}\r\n`

/** A channel as the gateway has it. */
export interface GatewayChannel {
  readonly control: Socket
  readonly reports: readonly Report[]
  /** Resolves when the service has closed the control connection. */
  readonly ended: Promise<void>
  /** Resolves when `find` finds something in the reports. */
  reported(find: (report: Report) => boolean): Promise<void>
}

export class PlayedGateway {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'xg-'))
  /** Where forwarded requests arrive. */
  readonly path: string = join(this.directory, 'gateway.sock')
  /** What is said in offers, beside who the client is. */
  offer: Partial<ChannelOffer> = {}
  readonly channels: GatewayChannel[] = []
  readonly #sockets = new Set<Socket>()
  readonly #tcp = net.createServer((socket) => this.#client(socket))
  readonly #unix = net.createServer({ allowHalfOpen: true }, (socket) => {
    this.#keep(socket)
    this.onForwarded(socket)
  })

  /** Takes a connection to the gateway's Unix socket. */
  onForwarded: (socket: Socket) => void = (socket) => socket.destroy()

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#tcp.listen(0, '127.0.0.1', resolve))
    await new Promise<void>((resolve) => this.#unix.listen(this.path, resolve))
  }

  get port(): number {
    return (this.#tcp.address() as AddressInfo).port
  }

  /** The offer that the next client's connection comes with. */
  offerFor(address: string, port: number): ChannelOffer {
    return {
      channel: 'w0-1',
      service: SERVICE_NAME,
      session: { id: SESSION_ID, user: 'zoë', subject: 'OpaqueRef:1', roles: ['vm-admin'], originator: 'tests' },
      methods: ['GET', 'PUT', 'POST'],
      client: { address, port },
      proto: 'http',
      gateway: this.path,
      greeting: '',
      ...this.offer,
    }
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
  }

  #client(client: Socket): void {
    this.#keep(client)
    client.once('data', (received) => {
      const { _handle: handle } = client as unknown as { _handle: { fd: number; readStop(): void } }
      client.pause()
      handle.readStop()
      const offer = this.offerFor(client.remoteAddress ?? '', client.remotePort ?? 0)
      const opened = openChannel(join(this.directory, `${SERVICE_NAME}.channel`), handle.fd, offer, received as Buffer)
      if (opened.kind === 'failed') {
        client.end(`HTTP/1.1 500 ${opened.code}\r\nContent-Length: 0\r\n\r\n`)
        return
      }
      const control = new net.Socket({ fd: opened.fd })
      if (opened.unsent !== null) control.write(opened.unsent)
      this.#keep(control)
      this.channels.push(this.#channel(control, client))
    })
  }

  #channel(control: Socket, client: Socket): GatewayChannel {
    const reader = new ReportReader()
    const reports: Report[] = []
    const told = new EventEmitter()
    control.on('data', (chunk) => {
      reports.push(...reader.write(chunk as Buffer))
      told.emit('report')
    })
    const ended = new Promise<void>((resolve) => {
      control.on('close', () => {
        client.destroy()
        resolve()
      })
    })
    const reported = async (find: (report: Report) => boolean): Promise<void> => {
      while (!reports.some(find)) await once(told, 'report')
    }
    return { control, reports, ended, reported }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all([this.#tcp, this.#unix].map((server) => new Promise((resolve) => server.close(resolve))))
    rmSync(this.directory, { recursive: true, force: true })
  }
}

/** What a service has told in all. */
export function totalOf(reports: readonly Report[]): { requests: number; bytesIn: number; bytesOut: number } {
  const total = { requests: 0, bytesIn: 0, bytesOut: 0 }
  for (const report of reports) {
    if (report.kind !== 'usage') continue
    total.requests += report.requests
    total.bytesIn += report.bytesIn
    total.bytesOut += report.bytesOut
  }
  return total
}
