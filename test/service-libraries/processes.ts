// A service as a process: its sockets, its start and its end.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { IDENTITY_LINES, requestText } from '../../packages/service/src/testing/fixture.ts'
import { SERVICE_NAME } from '../../packages/service/src/testing/gateway.ts'
import { Child, run } from '../harness/child.ts'
import { until } from '../harness/deadline.ts'
import { RawClient } from '../harness/raw.ts'
import { type Scope, scopeOf } from '../harness/scope.ts'
import { argvOf, ENV, type Options } from './library.ts'
import { DEADLINE, listens, type Rig } from './rig.ts'

/** Group of Debian and of XenServer that always is there. */
const GROUP = 'daemon'

/** As systemd does: binds the paths as descriptors 3 and 4, and becomes the service. */
const ACTIVATE = [
  'import os, socket, sys',
  'sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]',
  'for at, (one, path) in enumerate(zip(sockets, sys.argv[1:3])):',
  '    one.bind(path); one.listen(5); os.dup2(os.dup(one.fileno()), 3 + at)',
  'os.environ["LISTEN_PID"] = str(os.getpid())',
  'os.execvp(sys.argv[3], sys.argv[3:])',
].join('\n')

export function testProcesses(rig: Rig): void {
  const { library } = rig

  /** Starts the program, and does not wait for it. */
  const spawned = (scope: Scope, directory: string, options: Options = {}): Child => {
    const [command, argv] = argvOf(library, directory, SERVICE_NAME, options)
    return new Child(scope, command, argv, { env: ENV })
  }

  describe('a service', () => {
    test('is refused when it cannot be, and says why', DEADLINE, async (t) => {
      const scope = scopeOf(t)
      const directory = await scope.directory()
      const path = join(directory, SERVICE_NAME)
      const refusal = async (where: string, options: Options = {}, name = SERVICE_NAME): Promise<string> => {
        const [command, argv] = argvOf(library, where, name, options)
        const { code, stderr } = await run(scope, command, argv, { env: ENV })
        assert.equal(code, 1, stderr)
        return stderr
      }
      for (const name of ['', '.a', 'a/b', 'a.channel', 'x'.repeat(101)]) {
        assert.match(await refusal(directory, {}, name), /^cannot serve as "/)
      }
      assert.match(
        await refusal(join(directory, 'none')),
        /^cannot listen in \S+: there is no such directory; is the gateway started\? Give the directory that it looks in\n$/,
      )
      // Nobody makes files there, root included.
      assert.match(await refusal('/sys'), /^cannot listen on \/sys\//)
      assert.match(
        await refusal(directory, { group: 'no-such-group' }),
        /no-such-group.* has no such group|no such group\n$/,
      )
      writeFileSync(path, '')
      assert.match(await refusal(directory), /: a file that is no socket is there; remove it\n$/)
      rmSync(path)
      const server = net.createServer().listen(`${path}.channel`)
      await once(server, 'listening')
      assert.match(
        await refusal(directory),
        /another program is listening there; stop it first, or choose another name\n$/,
      )
      assert.ok(!existsSync(path), 'the first socket is taken back')
      server.close()
    })

    test('replaces a stale socket, with the mode and group that it is told', DEADLINE, async (t) => {
      const scope = scopeOf(t)
      const directory = await scope.directory()
      const path = join(directory, SERVICE_NAME)
      const first = spawned(scope, directory)
      await listens(path, first)
      first.signal('SIGKILL')
      await first.exited
      assert.ok(existsSync(path))
      rmSync(`${path}.channel`, { force: true })
      const isRoot = process.getuid?.() === 0
      const second = spawned(scope, directory, { mode: 0o600, channels: false, ...(isRoot ? { group: GROUP } : {}) })
      await listens(path, second)
      assert.equal(statSync(path).mode & 0o7777, 0o1600)
      if (isRoot) assert.equal(statSync(path).gid, 1)
      assert.ok(!existsSync(`${path}.channel`))
      assert.deepEqual(await second.stop(), { code: 0, signal: null })
      assert.ok(!existsSync(path))
    })

    test('leaves a file that is another one by now', DEADLINE, async (t) => {
      const { path, child } = await rig.started(t)
      unlinkSync(path)
      writeFileSync(path, 'of somebody else')
      assert.deepEqual(await child.stop(), { code: 0, signal: null })
      assert.ok(existsSync(path))
      assert.ok(!existsSync(`${path}.channel`))
    })

    test('drains at SIGTERM: finishes what is under way, says so, and ends what is idle', DEADLINE, async (t) => {
      const { client, relayed, child, path, gateway, printed } = await rig.started(t)
      const [idle, idleRelayed, slow] = [await client(), await relayed(), await client()]
      await idle.exchange(requestText('GET', '/hello'))
      await idleRelayed.exchange(requestText('GET', '/hello', IDENTITY_LINES))
      await slow.send(requestText('GET', '/slow'))
      await printed('asked')
      child.signal('SIGTERM')
      await idle.end()
      await idleRelayed.end()
      await until(() => !existsSync(path), 'the files to go')
      assert.ok(!existsSync(`${path}.channel`))
      const refused = net.connect(path)
      const [error] = await once(refused, 'error')
      assert.equal(error.code, 'ENOENT')
      child.signal('SIGUSR1')
      const response = await slow.response()
      assert.deepEqual([response.text, response.header('connection')], ['done', 'close'])
      await slow.end()
      assert.deepEqual(await child.exited, { code: 0, signal: null })
      for (const { ended } of gateway.channels) await ended
    })

    test('cuts what is not finished in time', DEADLINE, async (t) => {
      const { client, relayed, child } = await rig.started(t, { drainMs: 50 })
      const both = [await client(), await relayed()]
      for (const one of both) {
        await one.send(requestText('GET', '/endless'))
        await one.bytes(100_000)
      }
      child.signal('SIGTERM')
      await Promise.all(both.map((one) => one.end()))
      assert.deepEqual(await child.exited, { code: 0, signal: null })
    })

    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      test(`ends at once at a second ${signal}`, DEADLINE, async (t) => {
        const { client, child, path, printed } = await rig.started(t)
        const one = await client()
        await one.send(requestText('GET', '/slow'))
        await printed('asked')
        child.signal(signal)
        await until(() => !existsSync(path), 'the files to go')
        assert.ok(!child.hasEnded)
        child.signal(signal)
        assert.deepEqual(await child.exited, { code: 1, signal: null })
      })
    }

    test('takes the sockets that systemd passes, by name or path, and leaves their files', DEADLINE, async (t) => {
      const scope = scopeOf(t)
      const directory = await scope.directory()
      mkdirSync(join(directory, 'run'))
      const paths = [join(directory, 'run', 'x.channel'), join(directory, 'run', 'x')] as const
      for (const names of [undefined, 'x.channel:x']) {
        const [command, argv] = argvOf(library, directory, SERVICE_NAME)
        const child = new Child(scope, 'python3', ['-c', ACTIVATE, ...paths, command, ...argv], {
          env: { ...ENV, LISTEN_FDS: '2', ...(names === undefined ? {} : { LISTEN_FDNAMES: names }) },
        })
        await listens(paths[1], child)
        const client = await RawClient.connect(`unix:${paths[1]}`)
        scope.defer(() => client.destroy())
        const response = await client.exchange(requestText('GET', '/hello', IDENTITY_LINES))
        assert.equal(response.text, 'hello zoë\n')
        // A child could take them for its own.
        assert.equal(JSON.parse((await client.exchange(requestText('GET'))).text).listenFds, '')
        client.destroy()
        // It reads for a channel where it should.
        const control = net.connect(paths[0])
        control.end(Buffer.from([0, 0, 0, 2, 0x7b, 0x7d]))
        const [line] = await control.setEncoding('utf8').take(1).toArray()
        assert.match(String(line), /^\{"refused"/)
        assert.ok(!existsSync(join(directory, SERVICE_NAME)))
        assert.deepEqual(await child.stop(), { code: 0, signal: null })
        for (const path of paths) {
          assert.ok(existsSync(path))
          rmSync(path)
        }
      }
    })
  })
}
