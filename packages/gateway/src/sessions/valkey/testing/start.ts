// The authority valkey on a real server, for tests.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import type { ValkeySettings } from '../../../valkey/url.ts'
import { poolPrefix } from '../../../valkey/keys.ts'
import { ValkeyLink } from '../../../valkey/link.ts'
import { ValkeyServer, type ValkeyServerOptions } from '../../../valkey/testing/server.ts'
import type { SessionRules } from '../../accounts/sign-in.ts'
import { ValkeyAuthority } from '../authority.ts'

export const RULES: SessionRules = { idleTimeoutMs: 86_400_000, maxPerUser: 500, maxPerOriginator: 500 }
export const POOL = 'pool {1}'

/** A fresh directory that goes away with the test. */
export function freshDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A running server that goes away with the test. */
export async function serverOf(t: TestContext, options: ValkeyServerOptions = {}): Promise<ValkeyServer> {
  const server = new ValkeyServer(freshDirectory(t), options)
  t.after(() => server.stop())
  await server.start()
  return server
}

/** A link that is started by the caller and goes away with the test. */
export function linkOf(
  t: TestContext,
  config: ValkeySettings,
  pool: string = POOL,
  noticed: (error: unknown) => void = () => {},
): ValkeyLink {
  const link = new ValkeyLink({ config, key: `${poolPrefix(pool)}active`, noticed })
  t.after(() => link.close())
  return link
}

/** A gateway's authority, connected. */
export async function authorityOn(
  t: TestContext,
  { config }: { readonly config: ValkeySettings },
  rules: Partial<SessionRules> = {},
  pool: string = POOL,
): Promise<ValkeyAuthority> {
  const link = linkOf(t, config, pool)
  const authority = new ValkeyAuthority({
    link,
    pool,
    settings: { ...RULES, ...rules },
    report: (error) => {
      throw error
    },
  })
  authority.start()
  t.after(() => authority.close())
  link.start()
  await link.whenCurrent(10_000)
  return authority
}

/** Adds the users root (superuser), olga (pool-operator) and rita (read-only), all with the password `pw`. */
export async function addUsers({ users }: ValkeyAuthority): Promise<void> {
  await users.add('root', 'pw', 'pool-admin')
  await users.add('olga', 'pw', 'pool-operator')
  await users.add('rita', 'pw', 'read-only')
}

/** Signs in and answers the id. */
export async function signIn(authority: ValkeyAuthority, user: string, originator: string = ''): Promise<string> {
  return (await authority.login({ user, password: 'pw', originator, clientAddress: '192.0.2.1' })).id
}
