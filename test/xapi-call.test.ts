// What xapi runs to ask the daemon: with the bytes that xapi sends, and read by another reader of XML-RPC.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Exit, run } from './harness/child.ts'
import { Place } from './harness/daemon.ts'
import { type Scope, scopeOf } from './harness/scope.ts'
import { listen, serveHttp } from './harness/services.ts'

const SCRIPT = fileURLToPath(new URL('../packages/gateway/src/dom0/xapi-call.ts', import.meta.url))

/** As xapi's Xmlrpc.string_of_call writes them. */
const PLUGIN_CALL = (name: string): string =>
  `<?xml version="1.0"?><methodCall><methodName>${name}</methodName><params><param><value>OpaqueRef:0f7a1b3c-9d2e-4c5f-8a6b-1c2d3e4f5a6b</value></param>` +
  '<param><value><struct></struct></value></param></params></methodCall>'
const EXTENSION_CALL = (name: string): string =>
  `<?xml version="1.0"?><methodCall><methodName>${name}</methodName><params><param><value>OpaqueRef:0f7a1b3c-9d2e-4c5f-8a6b-1c2d3e4f5a6b</value></param></params></methodCall>`

const READER = `
import json, sys, xmlrpc.client
(answer,), method = xmlrpc.client.loads(sys.stdin.read())
assert method is None
print(json.dumps(answer))
`

/** Reads an answer as Python does. */
async function read(scope: Scope, xml: string): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await run(scope, 'python3', ['-c', READER], { input: xml })
  assert.equal(code, 0, `${stderr}\n${xml}`)
  return JSON.parse(stdout) as Record<string, unknown>
}

interface Caller {
  readonly raw: (argument: string, input?: string) => Promise<Exit & { stdout: string; stderr: string }>
  readonly plugin: (name: string) => Promise<Record<string, unknown>>
  readonly extension: (name: string) => Promise<Record<string, unknown>>
}

/** Calls as the host whose configuration is `configuration`. */
function caller(scope: Scope, configuration: string): Caller {
  const env = { PATH: '/usr/bin:/bin', XENGATE_CONFIG: configuration }
  const raw = (argument: string, input = ''): ReturnType<typeof run> =>
    run(scope, process.execPath, [SCRIPT, argument], { env, input })
  return {
    raw,
    plugin: async (name) => read(scope, (await raw(PLUGIN_CALL(name))).stdout),
    extension: async (name) => read(scope, (await raw('--xmlrpc', EXTENSION_CALL(name))).stdout),
  }
}

test('xapi gets status and services by plugin and by extension, and a person as JSON', async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope)
  const daemon = await place.start()
  await serveHttp(scope, place.socket('com.example.one'), (_request, response) => response.end())
  const { plugin, extension, raw } = caller(scope, place.configuration)
  for (const answer of [await plugin('status'), await extension('Xengate.get_status')]) {
    assert.equal(answer['Status'], 'Success')
    assert.equal((JSON.parse(String(answer['Value'])) as { pid: number }).pid, daemon.child.pid)
  }
  for (const answer of [await plugin('services'), await extension('Xengate.get_services')]) {
    const [service] = JSON.parse(String(answer['Value'])) as { name: string; accepts: boolean }[]
    assert.deepEqual([service?.name, service?.accepts], ['com.example.one', true])
  }
  const { code, stdout } = await raw('status')
  assert.deepEqual([code, (JSON.parse(stdout) as { pid: number }).pid], [0, daemon.child.pid])

  const unknown = { Status: 'Failure', ErrorDescription: ['UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'stop'] }
  assert.deepEqual(await plugin('stop'), unknown)
  const method = { Status: 'Failure', ErrorDescription: ['MESSAGE_METHOD_UNKNOWN', 'Xengate.stop'] }
  assert.deepEqual(await extension('Xengate.stop'), method)
})

test('every character of an answer arrives, and none ends it', async (t) => {
  const scope = scopeOf(t)
  const directory = await scope.directory()
  const value = { text: `</string>&amp;]]>"'\\ \u0000\u0007\u007f\t\r\n\u00e9\u2028\ufffe\ud83d\ude00\ud800` }
  const server = createServer((_request, response) => response.end(JSON.stringify(value)))
  scope.defer(() => void server.close())
  await listen(server, join(directory, 'control.sock'))
  const configuration = join(directory, 'xengate.toml')
  writeFileSync(configuration, `# a comment\nstate-dir = "${directory}"\n`)
  const answer = await caller(scope, configuration).plugin('status')
  assert.deepEqual(JSON.parse(String(answer['Value'])), value)
})

test('a failure says what to do: no daemon, one that fails', async (t) => {
  const scope = scopeOf(t)
  const directory = await scope.directory()
  const configuration = join(directory, 'xengate.toml')
  writeFileSync(configuration, `state-dir = "${directory}"\n`)
  const { plugin, raw } = caller(scope, configuration)
  const failure = {
    Status: 'Failure',
    ErrorDescription: ['XENGATE_NOT_RUNNING', 'Xengate is not running on this host. Start it: systemctl start xengate'],
  }
  assert.deepEqual(await plugin('status'), failure)
  const byHand = await raw('services')
  assert.equal(byHand.code, 1)
  assert.match(byHand.stderr, /^XENGATE_NOT_RUNNING: .*systemctl start xengate/)

  const server = createServer((_request, response) => response.writeHead(500).end('no'))
  scope.defer(() => void server.close())
  await listen(server, join(directory, 'control.sock'))
  const failed = await plugin('status')
  assert.equal((failed['ErrorDescription'] as string[])[0], 'XENGATE_FAILED')
})

test('an answer that breaks off, or is too long, is a failure', async (t) => {
  const scope = scopeOf(t)
  const directory = await scope.directory()
  const configuration = join(directory, 'xengate.toml')
  writeFileSync(configuration, 'state-dir = "."\n')
  const answers = ['{"version":"1', '', JSON.stringify({ long: 'x'.repeat(8_000_000) })]
  const server = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n\r\n${answers.shift()}`))
  })
  scope.defer(() => void server.close())
  await listen(server, join(directory, 'control.sock'))
  const { raw } = caller(scope, configuration)
  while (answers.length > 0) {
    const { code, stdout, stderr } = await raw('status')
    assert.deepEqual([code, stdout.length], [1, 0])
    assert.match(stderr, /^XENGATE_FAILED: Xengate's answer is not complete\. See: journalctl/)
  }
})

test('the configuration is shown without comments and passwords, and not at all when it is not valid', async (t) => {
  const scope = scopeOf(t)
  const place = await Place.make(scope)
  const secret = 'p%40ss-5ecret'
  const write = (more: string): void =>
    writeFileSync(
      place.configuration,
      `# ${secret}\nstate-dir = "state"\n[valkey]\nurl = "redis+sentinel://:${secret}@a:1,b:2/main"\n${more}`,
    )
  write('password-file = "valkey-password"\n')
  const shown = await place.command(['show-config'])
  assert.deepEqual([shown.code, shown.stderr], [0, ''])
  assert.match(
    shown.stdout,
    /^url = "redis\+sentinel:\/\/:\(blanked\)@a:1,b:2\/main"\npassword-file = "valkey-password"$/m,
  )
  assert.ok(!shown.stdout.includes('ss-5ecret'))
  write(`passwrod = "${secret}"\n`)
  const refused = await place.command(['show-config'])
  assert.deepEqual([refused.code, refused.stdout], [1, ''])
  assert.match(refused.stderr, /xengate\.toml:5: not valid: valkey\.passwrod$/m)
  assert.ok(!refused.stderr.includes('ss-5ecret'))
})
