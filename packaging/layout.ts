// What a package puts on a host around /opt/xengate.

import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { copy } from './run.ts'
import { FILES } from './tree.ts'

/** Where it is installed: xapi's dom0, or Debian. Each has a unit and a configuration of its own. */
export type Profile = 'dom0' | 'debian'

/** Shown by the system's tools, and kept in the tree. */
const LINKS: Readonly<Record<string, string>> = {
  '/usr/bin/xengate': '/opt/xengate/bin/xengate',
  '/usr/share/man/man1/xengate.1': '/opt/xengate/share/man/man1/xengate.1',
  '/usr/share/man/man5/xengate.toml.5': '/opt/xengate/share/man/man5/xengate.toml.5',
  '/usr/share/bash-completion/completions/xengate': '/opt/xengate/share/completions/xengate',
}

/** What xapi calls, by the names that it looks for. */
const XAPI_CALLS = [
  '/etc/xapi.d/plugins/xengate',
  '/etc/xapi.d/extensions/Xengate.get_services',
  '/etc/xapi.d/extensions/Xengate.get_status',
] as const
const XAPI_CALL = '/opt/xengate/app/dist/xapi-call.js'

/** What a status report collects, by the file that says it. */
const BUGTOOL = { 'xengate.xml': 'xengate.xml', 'xengate/stuff.xml': 'stuff.xml' } as const

const UNITS: Readonly<Record<Profile, string>> = { dom0: '/usr/lib/systemd/system', debian: '/lib/systemd/system' }

/** Lays out the files of a package below the empty directory `root`. */
export function layOut(root: string, tree: string, profile: Profile): void {
  mkdirSync(join(root, 'opt'))
  copy(tree, join(root, 'opt/xengate'))
  for (const [path, target] of Object.entries(LINKS)) link(root, path, target)
  if (profile === 'dom0') layOutForXapi(root)
  const files = join(FILES, profile)
  const dropIns = join(root, UNITS[profile], 'xengate.service.d')
  mkdirSync(dropIns, { recursive: true })
  cpSync(join(files, 'xengate.service'), join(root, UNITS[profile], 'xengate.service'))
  // In dom0 the scriptlet puts it there, where systemd is new enough; a package has to name what it owns.
  cpSync(join(FILES, 'hardening.conf'), join(dropIns, 'hardening.conf'))
  mkdirSync(join(root, 'etc/xengate'), { recursive: true })
  cpSync(join(files, 'xengate.toml'), join(root, 'etc/xengate/xengate.toml'))
  mkdirSync(join(root, 'var/lib/xengate'), { recursive: true })
}

function link(root: string, path: string, target: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  symlinkSync(target, join(root, path))
}

function layOutForXapi(root: string): void {
  const plugins = 'xengate-plugins.service'
  mkdirSync(join(root, UNITS.dom0), { recursive: true })
  cpSync(join(FILES, 'dom0', plugins), join(root, UNITS.dom0, plugins))
  // Served as https://HOST/xengate/ where the gateway does not answer itself.
  link(root, '/opt/xensource/www/xengate', '/opt/xengate/app/dist/dashboard')
  for (const path of XAPI_CALLS) link(root, path, XAPI_CALL)
  const bugtool = join(root, 'etc/xensource/bugtool')
  mkdirSync(join(bugtool, 'xengate'), { recursive: true })
  for (const [path, source] of Object.entries(BUGTOOL)) cpSync(join(FILES, 'dom0/bugtool', source), join(bugtool, path))
}
