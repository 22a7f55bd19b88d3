// A library for services, as the suite has it: a program that is written with it, and what the language lets it do.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { run } from '../harness/child.ts'
import type { Scope } from '../harness/scope.ts'

export const ROOT: string = dirname(dirname(import.meta.dirname))
const SERVICES = join(ROOT, 'test/services')

export interface Library {
  /** The program's command line, but for DIRECTORY NAME [JSON of options]. */
  readonly command: readonly [string, ...string[]]
  /** Options that it is always started with. */
  readonly options?: object
  /** Whether an answer may begin before its request's body is read. */
  readonly isDuplex: boolean
  /** Whether it takes upgrades. */
  readonly takesUpgrades: boolean
  /** Whether header fields keep their order and spelling, for handlers and in what is forwarded. */
  readonly keepsFields: boolean
  /** Whether it reads heads itself, byte by byte, and forwards them so. */
  readonly readsBytes: boolean
}

export const NODE: Library = {
  command: [process.execPath, '-C', '@xengate/source', join(SERVICES, 'library_service.ts')],
  isDuplex: true,
  takesUpgrades: true,
  keepsFields: true,
  // The parser of Node.js lets superfluous spaces pass; what is forwarded is made anew, with "Connection: keep-alive".
  readsBytes: false,
}

export const PYTHON: Library = {
  command: ['python3', join(SERVICES, 'python_service.py')],
  isDuplex: true,
  takesUpgrades: false,
  keepsFields: true,
  readsBytes: true,
}

/** Options of the programs, by one name for all. */
export interface Options {
  readonly mode?: number
  readonly group?: string
  readonly channels?: boolean
  /** Id of the user who is believed. */
  readonly gateway?: number
  readonly drainMs?: number
  /** In Python: so many channels at once. */
  readonly connections?: number
}

/** Whether Go is on this machine. */
export async function hasGo(scope: Scope): Promise<boolean> {
  const { code } = await run(scope, 'sh', ['-c', 'go version'])
  return code === 0
}

/** The library in Go; its program is compiled here, once for each process of tests. */
export async function go(scope: Scope): Promise<Library> {
  const directory = mkdtempSync(join(tmpdir(), 'xg-go-'))
  scope.defer(() => rmSync(directory, { recursive: true, force: true }))
  const program = join(directory, 'service')
  const { code, stderr } = await run(scope, 'go', ['build', '-o', program, '.'], {
    cwd: join(SERVICES, 'go_service'),
    env: goEnvironment(),
    deadlineMs: 100_000,
  })
  if (code !== 0) throw new Error(`go build: ${stderr}`)
  return {
    command: [program],
    // net/http reads a body to its end before it answers; from Go 1.21 on a handler can choose.
    isDuplex: false,
    takesUpgrades: true,
    // net/http has them in a map.
    keepsFields: false,
    readsBytes: true,
  }
}

/** What `go` runs with: it asks nobody on the network, and compiles the standard library in one way alone. */
export function goEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod', GOPROXY: 'off', GOTOOLCHAIN: 'local' }
}

/** Who is believed: whoever runs the tests, also where the gateway is installed. */
const OWN = process.getuid?.() ?? 0

/** The command line of a library's program. */
export function argvOf(
  { command, options: always = {} }: Library,
  directory: string,
  name: string,
  options: object = {},
): [string, string[]] {
  const [program, ...argv] = command
  return [program, [...argv, directory, name, JSON.stringify({ gateway: OWN, ...always, ...options })]]
}

export const ENV: NodeJS.ProcessEnv = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' }
