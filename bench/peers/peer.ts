// What a peer is: something that admits a request by its session and passes it to the service.

import { readFileSync } from 'node:fs'
import { type Bench, SERVICE } from '../bench.ts'

/** A peer that runs. */
export interface Running {
  readonly url: string
  /** Its processes; their descendants count as well. */
  readonly pids: readonly number[]
  /** Of these, the gateway's, where the service is measured as well. */
  readonly gatewayPids?: readonly number[]
  /** File with the ids of sessions that it admits. */
  readonly sessions: string
  readonly stop: () => Promise<void>
}

/** One row of a table. */
export interface Peer {
  /** Name in --peers and in the results. */
  readonly name: string
  readonly title: string
  /** Whether it looks at the session at all. */
  readonly isGuarded: boolean
  /** Whether its connections go through io_uring; default: no. */
  readonly isOnRing?: boolean
  start(bench: Bench): Promise<Running>
}

/** Target of a request through any peer. */
export function targetOf(path: string): string {
  return `/services/plugin/${SERVICE}${path}`
}

const BODY_BYTES = 65_536

/**
 * Sees to it that `running` does what is measured, so that the comparison is fair: it admits a session, tells the service
 * whose it is, refuses another one and none, and passes bodies both ways. @throws when it does not
 */
export async function checkPeer(peer: Peer, running: Running): Promise<void> {
  const [id = ''] = readFileSync(running.sessions, 'latin1').split('\n', 1)
  const wrong = `${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`
  const expect = (what: string, isSo: boolean): void => {
    if (!isSo) throw new Error(`${peer.name} cannot be compared: ${what}`)
  }
  const small = await ask(running, '/small', id)
  expect(
    `it answers a good session with ${small.status} "${small.text.slice(0, 60)}"`,
    small.status === 200 && small.text === 'hello from the service',
  )
  const large = await ask(running, '/64k', id)
  expect('64 KiB do not arrive', large.status === 200 && large.text.length === BODY_BYTES)
  for (const method of ['POST', 'PUT']) {
    const taken = await ask(running, '/body', id, { method, body: 'x'.repeat(BODY_BYTES) })
    expect(`it answers a ${method} with ${taken.status}`, taken.status === 200)
  }
  if (!peer.isGuarded) return
  // Twice, for peers that remember.
  for (const other of [wrong, undefined, wrong, undefined]) {
    const { status } = await ask(running, '/small', other)
    expect(`it answers a wrong session with ${status}`, status === 403 || status === 401)
  }
  const { text } = await ask(running, '/user', id)
  expect(`the service hears of the user "${text}"`, text === 'bench')
}

async function ask(
  running: Running,
  path: string,
  session: string | undefined,
  init: RequestInit = {},
): Promise<{ readonly status: number; readonly text: string }> {
  const headers = { connection: 'close', ...(session === undefined ? {} : { cookie: `session_id=${session}` }) }
  const response = await fetch(running.url + targetOf(path), { ...init, headers })
  return { status: response.status, text: await response.text() }
}
