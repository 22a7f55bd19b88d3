// The blocks of code on the documentation's pages, and a directory where they are typed.

import assert from 'node:assert/strict'
import { globSync, readFileSync, symlinkSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { builtApp } from './app.ts'
import { Child, run } from './child.ts'
import { until } from './deadline.ts'
import { RawClient } from './raw.ts'
import type { Scope } from './scope.ts'

/** The repository. */
export const ROOT: string = dirname(dirname(import.meta.dirname))

/** All pages with blocks of code, by their paths in the repository. */
export const PAGES: readonly string[] = globSync(
  ['*.md', 'docs/*.md', 'packages/*/README.md', 'libraries/*/README.md', 'examples/**/README.md', 'bench/README.md'],
  { cwd: ROOT, exclude: ['**/node_modules/**'] },
).toSorted()

/** A block of code on a page. */
export interface Block {
  readonly language: string
  readonly text: string
}

/** The blocks of a page, in their order; one in a list is as if it stood by itself. @param page its path in the repository */
export function blocksOf(page: string): readonly Block[] {
  const source = readFileSync(join(ROOT, page), 'utf8')
  return [...source.matchAll(/^( *)```(\S*)\n([^]*?)^ *```$/gm)].map(([, indent = '', language = '', text = '']) => {
    return { language, text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), '') }
  })
}

/** A gateway as `xengate dev` runs it. */
export class DevGateway {
  readonly url: string
  /** Its `.xengate`. */
  readonly state: string

  private constructor(url: string, state: string) {
    this.url = url
    this.state = state
  }

  static async start(scope: Scope): Promise<DevGateway> {
    const cwd = await scope.directory()
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined }
    const child = new Child(scope, process.execPath, [await builtApp(), 'dev', '--port', '0'], { cwd, env })
    scope.onFailure(() => child.stdout + child.stderr)
    const ready = /^xengate ready at (\S+)\n[^]*clock/m
    const url = await child.printed(({ stdout }) => ready.exec(stdout)?.[1], 'the gateway')
    return new DevGateway(url, join(cwd, '.xengate'))
  }
}

/** A directory beside a gateway, where somebody types what a page says: the gateway's `.xengate` is there, and `xengate` and `npx` are commands. */
export class Terminal {
  readonly cwd: string
  readonly gateway: DevGateway
  readonly #scope: Scope
  readonly #env: NodeJS.ProcessEnv

  private constructor(scope: Scope, cwd: string, gateway: DevGateway, env: NodeJS.ProcessEnv) {
    this.#scope = scope
    this.cwd = cwd
    this.gateway = gateway
    this.#env = env
  }

  static async open(scope: Scope, gateway: DevGateway): Promise<Terminal> {
    const cwd = await scope.directory()
    const commands = join(cwd, 'bin')
    await mkdir(commands)
    const { execPath } = process
    await writeFile(join(commands, 'xengate'), `#!/bin/sh\nexec ${execPath} ${await builtApp()} "$@"\n`)
    await writeFile(join(commands, 'npx'), '#!/bin/sh\nexec "$@"\n')
    await writeFile(join(commands, 'node'), `#!/bin/sh\nexec ${execPath} -C @xengate/source "$@"\n`)
    for (const name of ['xengate', 'npx', 'node']) await chmod(join(commands, name), 0o755)
    symlinkSync(join(ROOT, 'node_modules'), join(cwd, 'node_modules'))
    symlinkSync(gateway.state, join(cwd, '.xengate'))
    return new Terminal(scope, cwd, gateway, {
      ...process.env,
      PATH: `${commands}:${process.env['PATH']}`,
      XDG_CONFIG_HOME: join(cwd, 'config'),
      XENGATE_URL: gateway.url,
      PASSWORD: readFileSync(join(gateway.state, 'password'), 'utf8').trim(),
      PYTHONDONTWRITEBYTECODE: '1',
      NODE_TEST_CONTEXT: undefined,
      // A relative one would be made here.
      NODE_COMPILE_CACHE: undefined,
    })
  }

  /** The text with the gateway's own address: port 8080 may be another's. */
  here(text: string): string {
    return text.replaceAll('http://127.0.0.1:8080', this.gateway.url)
  }

  /** Types it, waits until it has run, and returns what it printed. It has to succeed. @param input what is typed after it */
  async types(text: string, input = ''): Promise<string> {
    const { code, stdout, stderr } = await run(this.#scope, 'sh', ['-e', '-c', this.here(text)], {
      cwd: this.cwd,
      env: this.#env,
      input,
    })
    assert.equal(code, 0, `${text}\n${stdout}${stderr}`)
    return stdout + stderr
  }

  /** Types it in a terminal of its own, and answers each time that it asks for a password. @returns what both wrote */
  async answers(text: string, password: string): Promise<string> {
    await this.saves('type.py', TYPING)
    return this.types(`python3 type.py '${text}' '${password}'`)
  }

  /** Starts it; it ends with the test. */
  starts(text: string): Child {
    const child = new Child(this.#scope, 'sh', ['-c', `exec ${this.here(text)}`], { cwd: this.cwd, env: this.#env })
    this.#scope.onFailure(() => child.stdout + child.stderr)
    return child
  }

  /** Starts what serves the service `name`, and waits until it listens. */
  async serves(text: string, name: string): Promise<Child> {
    const child = this.starts(text)
    const socket = `unix:${join(this.gateway.state, 'plugin', name)}`
    const probe = await until(() => RawClient.connect(socket).catch(() => undefined), `${name}\n${text}`)
    probe.destroy()
    return child
  }

  async saves(file: string, text: string): Promise<void> {
    await writeFile(join(this.cwd, file), this.here(text))
  }
}

/** Runs argv[1] in a pseudo-terminal, and types argv[2] whenever it is asked for something. */
const TYPING = `import os, pty, sys
def read(fd):
    data = os.read(fd, 1024)
    if data.endswith(b': '): os.write(fd, sys.argv[2].encode() + b'\\n')
    return data
sys.exit(os.WEXITSTATUS(pty.spawn(['sh', '-e', '-c', sys.argv[1]], read)))
`
