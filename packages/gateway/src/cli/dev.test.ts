// The real command as a child process, and the lines that it prints run by a shell.

import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isAnswered } from '@xengate/channel'
import { until } from '../../../../test/harness/deadline.ts'
import { runCommand } from './testing/test-io.ts'

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url))

interface Dev {
  readonly child: ChildProcess
  readonly url: string
  /** What it printed until the last line to paste. */
  readonly lines: readonly string[]
}

let cwd: string
before(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'xengate-dev-'))
})
after(() => rm(cwd, { recursive: true }))

async function startDev(): Promise<Dev> {
  const argv = ['-C', '@xengate/source', MAIN, 'dev', '--port', '0']
  const child = spawn(process.execPath, argv, { cwd, stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line)
    if (line.includes('/clock')) break
  }
  child.stdout.resume()
  const ready = lines.find((line) => line.startsWith('xengate ready at '))
  assert.ok(ready !== undefined, lines.join('\n'))
  return { child, url: ready.slice('xengate ready at '.length), lines }
}

async function stopDev({ child }: Dev): Promise<number | null> {
  child.kill('SIGTERM')
  await once(child, 'exit')
  return child.exitCode
}

describe('xengate dev', { timeout: 300_000 }, () => {
  test('what it says to paste works as it stands, and it stops clean', async () => {
    const dev = await startDev()
    try {
      assert.match(dev.url, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/)
      const password = (await readFile(join(cwd, '.xengate/password'), 'utf8')).trim()
      assert.ok(dev.lines.some((line) => line.includes(password) && line.includes('.xengate/password')))
      assert.equal((await stat(join(cwd, '.xengate'))).mode & 0o777, 0o711)
      assert.equal((await stat(join(cwd, '.xengate/password'))).mode & 0o777, 0o600)

      const script = dev.lines
        .filter((line) => line.startsWith('  '))
        .join('\n')
        .replace(/(curl.*clock)$/, '$1 | head -n 1')
      const { stdout } = await promisify(execFile)('/bin/sh', ['-c', script], { cwd, timeout: 30_000 })
      assert.match(stdout, /^Hello root\.[^]*roles +pool-admin\n[^]*\nhello\ndata: \d{4}-/)
    } finally {
      assert.equal(await stopDev(dev), 0)
    }
    assert.deepEqual(await readdir(join(cwd, '.xengate/plugin')), [])
  })

  test('the next start keeps the password', async () => {
    const password = await readFile(join(cwd, '.xengate/password'), 'utf8')
    const dev = await startDev()
    await stopDev(dev)
    assert.equal(await readFile(join(cwd, '.xengate/password'), 'utf8'), password)
    assert.ok(dev.lines.some((line) => line.includes(password.trim())))
  })

  test('a second one in the same place says that one is running', async () => {
    const dev = await startDev()
    try {
      const { code, stderr } = await runCommand(cwd, ['dev', '--port', '0'])
      assert.equal(code, 1)
      assert.match(stderr, /a gateway is running with \.xengate already \[state-busy\]\ntry: stop the other one/)
    } finally {
      await stopDev(dev)
    }
  })

  test('it stops when it is told to, although nobody reads what it prints any more', async () => {
    for (const lines of [1, 5]) {
      const argv = ['-C', '@xengate/source', MAIN, 'dev', '--port', '0']
      const child = spawn(process.execPath, argv, { cwd, stdio: ['ignore', 'pipe', 'ignore'] })
      let count = 0
      for await (const _ of createInterface({ input: child.stdout })) if (++count === lines) break
      child.stdout.destroy()
      // It goes on to serve: that is the last socket, by which its worker listens.
      while (!(await isAnswered(join(cwd, '.xengate/gateway.sock')))) await setTimeout(20)
      await stopDev({ child, url: '', lines: [] })
      assert.notEqual(child.signalCode, 'SIGKILL')
    }
  })

  test('the demo service ends with a gateway that was killed', async () => {
    const dev = await startDev()
    dev.child.kill('SIGKILL')
    await until(async () => (await readdir(join(cwd, '.xengate/plugin'))).length === 0, 'the end of the demo service')
  })
})
