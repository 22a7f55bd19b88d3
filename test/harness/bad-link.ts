// A link that loses, delays and holds packets, between this machine and a network namespace: see bad_link.py. Making it takes root.

import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { Child } from './child.ts'
import type { Scope } from './scope.ts'

const PROGRAM = new URL('bad_link.py', import.meta.url).pathname

/** How bad it is. */
export interface Badness {
  /** Part of all packets. */
  readonly lost: number
  /** Each packet waits for up to so long: one may overtake another. */
  readonly delayMs: number
}

export class BadLink {
  /** Of this machine's end. */
  readonly address: string
  /** Who connects here and sends a line `HOST:PORT` gets a connection from the other end to that place. */
  readonly path: string
  readonly #child: Child
  #told = 0

  private constructor(child: Child, address: string, path: string) {
    this.#child = child
    this.address = address
    this.path = path
  }

  /** Whether this user may make one here. */
  static get isPossible(): boolean {
    try {
      accessSync('/dev/net/tun', constants.R_OK | constants.W_OK)
      return process.getuid?.() === 0
    } catch {
      return false
    }
  }

  /** Makes one, which loses nothing yet, until the scope ends. @param seed of what it loses and delays */
  static async make(scope: Scope, seed: number): Promise<BadLink> {
    const namespace = `xgl${process.pid}`
    ip('netns', 'add', namespace)
    scope.defer(() => ip('netns', 'del', namespace))
    const path = join(await scope.directory(), 'link')
    // Of the block for tests of networks (RFC 2544), for each process its own.
    const network = `198.18.${(process.pid >> 6) & 255}`
    const first = (process.pid & 63) * 4
    const [near, far] = [`${network}.${first + 1}`, `${network}.${first + 2}`]
    const child = new Child(scope, 'python3', [PROGRAM, namespace, path, near, far, String(seed)])
    await child.printed(({ stdout }) => stdout.includes('ready') || undefined, 'the link')
    return new BadLink(child, near, path)
  }

  /** Makes it so bad; resolves when it is. */
  async become({ lost, delayMs }: Badness): Promise<void> {
    const wanted = ++this.#told
    this.#child.process.stdin?.write(`${JSON.stringify({ lost, delayMs })}\n`)
    await this.#child.printed(({ stdout }) => stdout.split('told').length > wanted || undefined, 'the link to change')
  }
}

function ip(...argv: string[]): void {
  const { status, stderr } = spawnSync('ip', argv, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${argv.join(' ')}: ${stderr}`)
}
