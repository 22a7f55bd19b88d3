// The tree: all that a host needs, in one directory, /opt/xengate.
//
//   bin/node, bin/xengate     the runtime, and the command
//   lib/                      the runtime's own loader, C library and what else it links
//   app/                      the application (bundle.ts says what is there)
//   share/                    manual pages, completion of the shell, what systemd takes from version 240 on
//   LICENSES/, bom.json       what it consists of

import {
  chmodSync,
  cpSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { bundle } from './bundle.ts'
import { type Identity, ROOT } from './identity.ts'
import { describeMaterials } from './materials.ts'
import { writeManual } from './manual.ts'
import { findRuntime, packRuntime } from './runtime.ts'

export const FILES: string = join(ROOT, 'packaging/files')

/** dom0's root has 18 GB for everything, and its updates are uploaded by hand. */
const TREE_BYTES_MAX = 135_000_000

/** The command runs on the node beside it, whatever the path has. */
const SHEBANG = '#!/opt/xengate/bin/node'

export interface TreeOptions {
  /** The tree is made in `opt/xengate` below this directory. */
  readonly out: string
  readonly identity: Identity
  /** A Node.js directory in place of the checkout's. */
  readonly runtime?: string | undefined
}

/** Makes the tree anew, and returns its path. @throws {Error} when it is larger than it may be */
export async function makeTree({ out, identity, runtime }: TreeOptions): Promise<string> {
  const tree = join(out, 'opt/xengate')
  // Before the tree that is there goes.
  const found = findRuntime(runtime)
  await rm(tree, { recursive: true, force: true })
  mkdirSync(tree, { recursive: true })
  const parts = packRuntime(tree, found)
  await bundle(join(tree, 'app'))
  linkCommand(tree)
  writeManual(join(tree, 'share'), identity)
  mkdirSync(join(tree, 'share/systemd'))
  cpSync(join(FILES, 'hardening.conf'), join(tree, 'share/systemd/hardening.conf'))
  describeMaterials(tree, identity, parts)
  settle(tree, identity.epoch)
  const bytes = sizeOf(tree)
  if (bytes > TREE_BYTES_MAX) throw new Error(`the tree has ${bytes} bytes, and may have ${TREE_BYTES_MAX}`)
  return tree
}

function linkCommand(tree: string): void {
  const command = join(tree, 'app/bin/xengate.js')
  writeFileSync(command, readFileSync(command, 'utf8').replace(/^#!.*/, SHEBANG))
  chmodSync(command, 0o755)
  symlinkSync('../app/bin/xengate.js', join(tree, 'bin/xengate'))
}

/** Gives everything below `directory` the same modes and times, whoever made it and when. */
export function settle(directory: string, epoch: number): void {
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) chmodSync(path, 0o755)
    else if (entry.isFile()) chmodSync(path, (lstatSync(path).mode & 0o100) === 0 ? 0o644 : 0o755)
    lutimesSync(path, epoch, epoch)
  }
  chmodSync(directory, 0o755)
  lutimesSync(directory, epoch, epoch)
}

function sizeOf(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + lstatSync(join(entry.parentPath, entry.name)).size, 0)
}
