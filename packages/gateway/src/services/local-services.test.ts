import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { describe, test, type TestContext } from 'node:test'

import { LocalServices, type Look } from './local-services.ts'

function freshDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'xg-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function listen(t: TestContext, path: string): Promise<Server> {
  const server = createServer((socket) => socket.on('error', () => {})).listen(path)
  await once(server, 'listening')
  t.after(() => server.close())
  return server
}

/** Watches, and waits for what is told. */
function watching(t: TestContext, directories: string[], how: Look): { told: (names: string[]) => Promise<void> } {
  let last = ''
  let wake = (): void => {}
  const services = new LocalServices(directories, how, (names) => {
    last = names.join(' ')
    wake()
  })
  t.after(() => services.close())
  const told = async (names: string[]): Promise<void> => {
    while (last !== names.join(' ')) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return { told }
}

function testsOf(how: Look): void {
  test('are told as they come and go, from every directory, each once', async (t) => {
    const [first, second] = [freshDirectory(t), freshDirectory(t)]
    await listen(t, join(first, 'there-before'))
    const { told } = watching(t, [first, second], how)
    await told(['there-before'])
    const server = await listen(t, join(second, 'comes'))
    await told(['comes', 'there-before'])
    await listen(t, join(first, 'comes'))
    server.close()
    await once(server, 'close')
    await told(['comes', 'there-before'])
  })

  test('are sockets that accept, with the name of a service', async (t) => {
    const directory = freshDirectory(t)
    const elsewhere = freshDirectory(t)
    writeFileSync(join(directory, 'a-file'), '')
    mkdirSync(join(directory, 'a-directory'))
    await listen(t, join(directory, 'com.example.a.channel'))
    await listen(t, join(directory, '.hidden'))
    await listen(t, join(elsewhere, 'target'))
    symlinkSync(join(elsewhere, 'target'), join(directory, 'linked'))
    symlinkSync(join(elsewhere, 'nothing'), join(directory, 'dangling'))
    const { told } = watching(t, [directory], how)
    await told(['linked'])
  })
}

describe('services of this host', { timeout: 300_000 }, () => {
  for (const how of ['surely', 'quietly'] as const) describe(how, () => testsOf(how))

  test('are not connected to when they are looked for quietly', async (t) => {
    const directory = freshDirectory(t)
    let connections = 0
    const server = createServer(() => connections++).listen(join(directory, 'busy'))
    t.after(() => server.close())
    await once(server, 'listening')
    const { told } = watching(t, [directory], 'quietly')
    await told(['busy'])
    await listen(t, join(directory, 'more'))
    await told(['busy', 'more'])
    assert.equal(connections, 0)
  })

  test('are noticed when their directory comes later, and forgotten when they leave their socket behind', async (t) => {
    const directory = join(freshDirectory(t), 'plugin')
    const { told } = watching(t, [directory], 'surely')
    mkdirSync(directory)
    const path = join(directory, 'dies')
    const child = spawnListener(path)
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    await told(['dies'])
    // Killed, it leaves its socket where it was.
    child.kill('SIGKILL')
    await told([])
  })
})

function spawnListener(path: string): ChildProcessByStdio<null, Readable, null> {
  return spawn(
    process.execPath,
    ['-e', `require('net').createServer().listen(process.argv[1], () => console.log('up'))`, path],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
}
