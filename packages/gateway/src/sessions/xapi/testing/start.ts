// The authority xapi against the stand-in, for tests.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import { XapiClient } from '../../../xapi/client.ts'
import type { XapiSettings } from '../../../xapi/address.ts'
import { XapiFailure } from '../../../xapi/errors.ts'
import { type StandIn, startStandIn } from '../../../xapi/testing/stand-in/start.ts'
import { XapiAuthority, type XapiTrust } from '../authority.ts'

export const TRUST: XapiTrust = { recheckMs: 200, staleGraceMs: 500 }

/** A fresh directory that goes away with the test. */
export function freshDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Starts a stand-in that goes away with the test. */
export async function standInOf(t: TestContext): Promise<StandIn> {
  const standIn = await startStandIn(freshDirectory(t))
  t.after(() => standIn.stop())
  return standIn
}

/** A client of the stand-in's Unix socket needs nothing else. */
export function localSettings({ socketPath }: StandIn): XapiSettings {
  return { address: { kind: 'unix', path: socketPath }, caFile: null, user: 'root', passwordFile: null }
}

/** A started authority that goes away with the test. */
export function authorityOf(
  t: TestContext,
  settings: XapiSettings,
  trust: XapiTrust = TRUST,
  nowMs: () => number = () => performance.now(),
): XapiAuthority {
  const authority = new XapiAuthority({
    client: new XapiClient(settings),
    trust,
    nowMs,
    report: (error) => {
      // What xapi refuses is an operator's to see to, and some tests have it refuse.
      if (!(error instanceof XapiFailure)) throw error
    },
  })
  authority.start()
  t.after(() => authority.close())
  return authority
}
