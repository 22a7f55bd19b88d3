import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { until } from '../../../../test/harness/deadline.ts'
import { describe, test, type TestContext } from 'node:test'

import type { ValkeySettings } from './url.ts'
import { parseValkeyUrl } from './url.ts'
import { freshDirectory, linkOf, serverOf } from '../sessions/valkey/testing/start.ts'
import { ValkeyUnavailableError } from './connect.ts'
import { Script, ValkeyLink } from './link.ts'
import { ValkeyServer } from './testing/server.ts'

function configOf(text: string, more: Partial<ValkeySettings> = {}): ValkeySettings {
  const url = parseValkeyUrl(text)
  assert.ok(url, text)
  return { url, caFile: null, passwordFile: null, ...more }
}

/** A port of 127.0.0.1 that nobody has. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Waits for the connection, and for a command to be answered. */
async function works(t: TestContext, config: ValkeySettings): Promise<void> {
  const link = linkOf(t, config)
  link.start()
  await link.whenCurrent(10_000)
  assert.equal(await link.run(['SET', '{pool}:key', 'value']), 'OK')
  assert.equal(await link.script(new Script("return redis.call('GET', KEYS[1])"), ['{pool}:key'], []), 'value')
  await link.close()
}

describe('link to Valkey', { timeout: 300_000 }, () => {
  test('works with a user and a password, from the URL or a file, and says what is wrong without them', async (t) => {
    const port = await freePort()
    const acl = ['--user', 'gate', 'on', '>p@ss', '~*', '&*', '+@all', '--user', 'default', 'off']
    await serverOf(t, { port, argv: acl })
    await works(t, configOf(`redis://gate:p%40ss@127.0.0.1:${port}`))
    const passwordFile = join(freshDirectory(t), 'password')
    writeFileSync(passwordFile, 'p@ss\n')
    await works(t, configOf(`redis://gate@127.0.0.1:${port}`, { passwordFile }))
    const refused = linkOf(t, configOf(`redis://gate:wrong@127.0.0.1:${port}`))
    refused.start()
    await assert.rejects(refused.whenCurrent(300), ValkeyUnavailableError)
    await assert.rejects(refused.run(['PING']), ValkeyUnavailableError)
  })

  test('works over TLS with a certificate that is known, and not with another', async (t) => {
    const directory = freshDirectory(t)
    const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
    const files = ['-keyout', key, '-out', cert, '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1']
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
    assert.equal(spawnSync('openssl', ['req', '-x509', ...ec, ...files]).status, 0)
    const [plain, port] = [await freePort(), await freePort()]
    const tls = ['--tls-port', String(port), '--tls-cert-file', cert, '--tls-key-file', key]
    await serverOf(t, { port: plain, argv: [...tls, '--tls-auth-clients', 'no', '--tls-ca-cert-file', cert] })
    await works(t, configOf(`rediss://127.0.0.1:${port}`, { caFile: cert }))
    const unknown = linkOf(t, configOf(`rediss://127.0.0.1:${port}`))
    unknown.start()
    await assert.rejects(unknown.whenCurrent(300), ValkeyUnavailableError)
  })

  test('finds the server that has the slot of a Cluster, through any of its servers', async (t) => {
    const port = await freePort()
    const server = await serverOf(t, { port, argv: ['--cluster-enabled', 'yes'] })
    const setup = spawnSync('redis-cli', ['-p', String(port), 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383'])
    assert.equal(setup.status, 0, String(setup.stderr))
    const nobody = await freePort()
    await works(t, configOf(`redis+cluster://127.0.0.1:${nobody},127.0.0.1:${port}`))
    await server.stop()
  })

  test('asks Sentinels for the server, and follows them to another', async (t) => {
    const [first, second, sentinel] = [await freePort(), await freePort(), await freePort()]
    const primary = await serverOf(t, { port: first, argv: ['--repl-diskless-sync-delay', '0'] })
    await serverOf(t, { port: second, argv: ['--replicaof', '127.0.0.1', String(first)] })
    const directory = freshDirectory(t)
    const file = join(directory, 'sentinel.conf')
    writeFileSync(
      file,
      `port ${sentinel}\nbind 127.0.0.1\ndir ${directory}\nsentinel monitor main 127.0.0.1 ${first} 1\n` +
        'sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 3000\n',
    )
    const watcher = new ValkeyServer(directory, { port: sentinel, sentinelFile: file })
    t.after(() => watcher.stop())
    await watcher.start()
    const config = configOf(`redis+sentinel://127.0.0.1:${sentinel}/main`)
    const link = linkOf(t, config)
    link.start()
    await link.whenCurrent(10_000)
    // Not over the link: a command that blocks would keep its heartbeats from being answered.
    const set = spawnSync('redis-cli', ['-p', String(first)], {
      input: 'SET before 1\nWAIT 1 10000\n',
      encoding: 'utf8',
    })
    assert.equal(set.stdout, 'OK\n1\n')
    await primary.stop('SIGKILL')
    const isTaken = (): Promise<boolean> =>
      link.run(['SET', 'after', '1']).then(
        (answer) => answer === 'OK',
        () => false,
      )
    await until(isTaken, 'the replica to take over', 30_000)
    assert.equal(await link.run(['GET', 'before']), '1')
  })

  test('gives up a server that is silent, and has another connection when it speaks again', async (t) => {
    const server = await serverOf(t)
    const noticed: boolean[] = []
    const link = linkOf(t, server.config, 'pool', (error) => noticed.push(error === null))
    let connections = 0
    link.add({
      channels: [],
      connected: async () => {
        connections += 1
        return Promise.resolve()
      },
      invalidated: () => {},
      published: () => {},
    })
    link.start()
    await link.whenCurrent(10_000)
    server.pause()
    await assert.rejects(link.run(['PING']), ValkeyUnavailableError)
    assert.ok(link.stalenessMs > 1000)
    server.resume()
    await until(() => link.stalenessMs <= 1000, 'the server to be heard again')
    assert.deepEqual([noticed, connections], [[true, false, true], 2])
  })

  test('an error says which command failed, and none of its arguments', async (t) => {
    const refused: string[] = []
    const { config } = await serverOf(t)
    const link = new ValkeyLink({
      config,
      key: 'pool',
      noticed: () => {},
      refused: ({ message }) => refused.push(message),
    })
    t.after(() => link.close())
    link.start()
    await link.whenCurrent(10_000)
    const failed = await link.run(['GET', 'secret', 'secret']).catch((error: unknown) => error)
    assert.ok(failed instanceof ValkeyUnavailableError)
    assert.equal(failed.message, 'run GET: ERR')
    assert.deepEqual(refused, ['run GET: ERR'], 'the operator is told')
    await link.script(new Script('return 1'), [], [])
    assert.equal(refused.length, 1, 'a script that the server did not have is sent, and nothing to tell')
  })
})

describe('URL of Valkey', { timeout: 300_000 }, () => {
  test('is one of the forms that are described', () => {
    const known: [string, string][] = [
      ['redis://a', 'single a:6379 false 0'],
      ['valkeys://[::1]:1/7', 'single ::1:1 true 7'],
      ['unix:/run/valkey.sock', 'single /run/valkey.sock false 0'],
      ['redis+sentinel://a,b:2/m%2Fx', 'sentinel a:26379 b:2 false 0 m/x'],
      ['rediss+cluster://u:p@a,b:2', 'cluster a:6379 b:2 true 0 u p'],
      ['redis://:p@a', 'single a:6379 false 0 p'],
    ]
    for (const [text, wanted] of known) {
      const { kind, servers, hasTls, database, master, user, password } = configOf(text).url
      const names = servers.map((server) => ('path' in server ? server.path : `${server.host}:${server.port}`))
      const rest = [master, user, password].filter(Boolean)
      assert.equal([kind, ...names, hasTls, database, ...rest].join(' '), wanted)
    }
    const wrong = [
      '',
      'a',
      'http://a',
      'redis://',
      'redis://a:99999',
      'redis://a,b',
      'redis://a/x',
      'redis://a/1/2',
      'unix:',
    ]
    for (const text of [...wrong, 'redis+sentinel://a', 'redis+cluster://a/0', 'redis://%ZZ@a', 'redis://a b']) {
      assert.equal(parseValkeyUrl(text), undefined, text)
    }
  })
})
