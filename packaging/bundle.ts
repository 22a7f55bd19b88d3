// The application as few files: what a package brings in place of the workspaces and their dependencies.
//
//   <directory>/package.json            its version, and that its files are modules
//   <directory>/bin/xengate.js          the command
//   <directory>/dist/main.js            what the command runs; worker-main.js and demo-main.js are processes of their own
//   <directory>/dist/xapi-call.js       what xapi runs to ask the daemon
//   <directory>/dist/dashboard/         the dashboard's files, which `npm run build` has made
//   <directory>/dist/xengate_service.py     the Python library, which `xengate new service` copies
//   <directory>/dist/xengate/               the Go library, likewise
//   <directory>/dist/*.js               what these share, and what is loaded on demand
//   <directory>/node_modules/           koffi, which finds its addon by its own path

import { createHash } from 'node:crypto'
import { chmod, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const GATEWAY = join(ROOT, 'packages/gateway')

/** The processes; each finds the others beside it, by these names. */
const ENTRIES: Readonly<Record<string, string>> = {
  main: 'main.ts',
  'worker-main': 'process/worker-main.ts',
  'demo-main': 'demo/demo-main.ts',
  'xapi-call': 'dom0/xapi-call.ts',
}

/** Of koffi's packages, what is needed where it runs: no sources, documentation or builds for other C libraries. */
const KOFFI_FILES: readonly string[] = [
  'koffi/package.json',
  'koffi/LICENSE.txt',
  'koffi/index.js',
  'koffi/src/koffi/index.js',
  'koffi/src/koffi/src/static.js',
  '@koromix/koffi-linux-x64/package.json',
  '@koromix/koffi-linux-x64/index.js',
  '@koromix/koffi-linux-x64/linux_x64/koffi.node',
]

/**
 * Takes `node:http` by `require`. An import looks at all that it exports, and so loads what `http.WebSocket` and the like are: undici, for 30 ms and
 * 6 to 8 MB of a process.
 */
const httpAsItIsUsed: Plugin = {
  name: 'http-as-it-is-used',
  setup(bundling) {
    const namespace = 'builtin'
    bundling.onResolve({ filter: /^node:http$/ }, ({ path, namespace: from }) =>
      from === namespace ? { path, external: true } : { path, namespace },
    )
    bundling.onLoad({ filter: /./, namespace }, ({ path }) => ({ contents: `module.exports = require('${path}')` }))
  },
}

/**
 * Writes the application, for x86-64, to `directory`, which is made anew. The same sources give the same bytes.
 *
 * @throws {Error} when a source does not parse or an import is not found; esbuild has printed where
 */
export async function bundle(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true })
  await build({
    absWorkingDir: ROOT,
    entryPoints: Object.entries(ENTRIES).map(([out, source]) => ({ in: join(GATEWAY, 'src', source), out })),
    outdir: join(directory, 'dist'),
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    conditions: ['@xengate/source'],
    external: ['koffi'],
    plugins: [httpAsItIsUsed],
    // CommonJS dependencies ask for Node.js's modules by `require`, which a module does not have.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    legalComments: 'none',
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: 'warning',
  })
  await chmod(join(directory, 'dist/xapi-call.js'), 0o755)
  await cp(join(GATEWAY, 'dist/dashboard'), join(directory, 'dist/dashboard'), { recursive: true })
  await copy(join(ROOT, 'libraries/python/xengate_service.py'), join(directory, 'dist/xengate_service.py'))
  const go = join(ROOT, 'libraries/go')
  for (const file of await readdir(go)) {
    if (file.endsWith('.go')) await copy(join(go, file), join(directory, 'dist/xengate', file))
  }
  for (const file of KOFFI_FILES) await copy(join(ROOT, 'node_modules', file), join(directory, 'node_modules', file))
  await copy(join(GATEWAY, 'bin/xengate.js'), join(directory, 'bin/xengate.js'))
  await writeFile(join(directory, 'package.json'), await manifest(await buildOf(directory)))
}

/** A digest of all that runs: a worker of another build than its primary does not serve. */
async function buildOf(directory: string): Promise<string> {
  const digest = createHash('sha256')
  for (const path of (await readdir(directory, { recursive: true })).toSorted()) {
    if (!(await stat(join(directory, path))).isFile()) continue
    digest.update(`${path}\0`).update(await readFile(join(directory, path)))
  }
  return digest.digest('hex').slice(0, 16)
}

async function manifest(digest: string): Promise<string> {
  const source: unknown = JSON.parse(await readFile(join(GATEWAY, 'package.json'), 'utf8'))
  const version = typeof source === 'object' && source !== null && 'version' in source ? source.version : undefined
  return `${JSON.stringify({ name: 'xengate', version, build: digest, type: 'module', private: true }, null, 2)}\n`
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true })
  await cp(from, to, { dereference: true })
}
