// Readers that take bytes or text and return values: the header of the PROXY protocol, calls of the XenAPI, the two sides of the channel
// protocol, the configuration.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeOffer, offerText, type ChannelOffer } from '../../../packages/channel/src/offer.ts'
import { ReportReader, type Report } from '../../../packages/channel/src/reports.ts'
import { sampleConfig } from '../../../packages/gateway/src/config/documentation.ts'
import { ConfigError, loadConfig } from '../../../packages/gateway/src/config/load.ts'
import { readProxyHeader, V1_BYTES_MAX, V2_BYTES_MAX } from '../../../packages/gateway/src/proxy/heads/proxy-header.ts'
import { MalformedCallError } from '../../../packages/gateway/src/xenapi/errors.ts'
import { parseJsonRpcCall } from '../../../packages/gateway/src/xenapi/json-rpc.ts'
import { readPluginRequest } from '../../../packages/gateway/src/xenapi/plugin-request.ts'
import { startEndpoint } from '../../../packages/gateway/src/xenapi/testing/endpoint.ts'
import { parseXmlRpcCall } from '../../../packages/gateway/src/xenapi/xml-rpc.ts'
import { scopeOf } from '../../harness/scope.ts'
import { cuts, mutate } from '../mutate.ts'
import type { Target } from '../target.ts'

type Corpus = readonly [string, ...string[]]

const V2 = '\r\n\r\n\0\r\nQUIT\n'
const HEADERS: Corpus = [
  'PROXY TCP4 10.1.2.3 192.0.2.1 12345 8443\r\n',
  'PROXY TCP6 2001:db8::7 ::1 12345 443\r\n',
  'PROXY UNKNOWN\r\n',
  'PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n',
  `${V2}\x21\x11\0\x0c\x0a\x01\x02\x03\xc0\0\x02\x01\x30\x39\x20\xfb`,
  `${V2}\x21\x21\0\x24${'\x20\x01'.repeat(16)}\x30\x39\x20\xfb`,
  `${V2}\x20\0\0\0`,
  `${V2}\x21\x11\0\x13\x0a\x01\x02\x03\xc0\0\x02\x01\x30\x39\x20\xfb\x04\0\x04abcd`,
  `${V2}\x21\x31\0\xd8${'\0'.repeat(216)}`,
]

/** A header is read the same however much of it has come, and never beyond its bounds. */
export const PROXY_HEADER: Target = {
  name: 'proxy-header',
  start: async () => ({
    make: (random) => ({
      text: mutate(random, random.pick(HEADERS) + (random.isSo(0.5) ? 'GET / HTTP/1.1\r\n' : ''), HEADERS),
    }),
    attempt: ({ text }) => {
      const bytes = Buffer.from(String(text), 'latin1')
      const whole = readProxyHeader(bytes, 0, bytes.length)
      if (whole.kind === 'complete')
        assert.ok(whole.end <= Math.min(bytes.length, Math.max(V1_BYTES_MAX, V2_BYTES_MAX)))
      for (let to = 0; to < bytes.length; to++) {
        const part = readProxyHeader(bytes, 0, to)
        if (part.kind === 'need-more') continue
        assert.deepEqual(part, whole, `after ${to} bytes`)
        break
      }
    },
  }),
}

const CALLS: Corpus = [
  '<?xml version="1.0"?><methodCall><methodName>session.login_with_password</methodName><params><param><value>root</value></param><param><value><string>x</string></value></param></params></methodCall>',
  '<methodCall><methodName>event.from</methodName><params><param><value><array><data><value>*</value></data></array></value></param><param><value><double>1.5</double></value></param></params></methodCall>',
  '<methodCall><methodName>task.create</methodName><params><param><value><struct><member><name>a</name><value><i4>1</i4></value></member></struct></value></param></params></methodCall>',
  '{"jsonrpc":"2.0","id":1,"method":"session.login_with_password","params":["root","x","1.0","me"]}',
  '{"id":"a","method":"pool.get_all","params":["OpaqueRef:1"]}',
  '<?xml version="1.0"?><methodCall><methodName>host.call_plugin</methodName><params><param><value>s</value></param><param><value>h</value></param><param><value><string>p</string></value></param><param><value>f</value></param><param><value><struct><member><name>a</name><value>b</value></member></struct></value></param></params></methodCall>',
  '{"jsonrpc":"2.0","id":1,"method":"host.call_plugin","params":["s","h","p","f",{"a":"b"}]}',
  '{"method":"x","params":[{"a":[null,true,1e9,"\\u0000"]}],"id":null}',
]
/** One of so many goes to the real server, too. */
const SENT_ONE_OF = 50

/** A call is read or is malformed; the server answers it, and goes on. */
export const XENAPI: Target = {
  name: 'xenapi',
  start: async (t) => {
    const { send } = await startEndpoint(t)
    let count = 0
    return {
      make: (random) => ({ text: mutate(random, random.pick(CALLS), CALLS), isJson: random.isSo(0.5) }),
      attempt: async ({ text, isJson }) => {
        const call = String(text)
        try {
          if (isJson === true) parseJsonRpcCall(call)
          else parseXmlRpcCall(call)
        } catch (error) {
          if (!(error instanceof MalformedCallError)) throw error
        }
        tryPluginRequest(call, isJson === true)
        // Sign-ins take a hash each, and calls that wait wait.
        if (count++ % SENT_ONE_OF !== 0 || /login|event\.|password/.test(call)) return
        const { status } = await send(isJson === true ? '/jsonrpc' : '/', Buffer.from(call, 'latin1'))
        assert.ok([200, 413, 500].includes(status), `status ${status}`)
      },
    }
  },
}

/** What is read as a call of a plugin, in place of xapi, is the same call to the XenAPI's own reader. */
function tryPluginRequest(text: string, isJson: boolean): void {
  const request = readPluginRequest(isJson ? '/jsonrpc' : '/', Buffer.from(text, 'latin1'))
  if (request === null) return
  const { method, params } = (isJson ? parseJsonRpcCall : parseXmlRpcCall)(Buffer.from(text, 'latin1').toString())
  const { sessionId, host, plugin, fn, args } = request
  assert.deepEqual([method, ...params], ['host.call_plugin', sessionId, host, plugin, fn, args])
}

const OFFER: ChannelOffer = {
  channel: 'w0-17',
  service: 'svc',
  session: { id: 'OpaqueRef:1', user: 'root', subject: 'OpaqueRef:NULL', roles: ['pool-admin'], originator: '' },
  methods: ['GET', 'PUT'],
  client: { address: '::1', port: 51_234 },
  proto: 'https',
  gateway: '/run/xengate/gateway.sock',
  greeting: 'whose it is\r\n',
}
const OFFERS: Corpus = [offerText(OFFER, 10), offerText({ ...OFFER, greeting: '' }, 0)]
const REPORTS: Corpus = [
  '{"accepted":true}\n{"requests":1,"bytesIn":2,"bytesOut":3}\n{"requests":0,"bytesIn":0,"bytesOut":9007199254740991}\n',
  '{"refused":"why"}\n',
  '{"accepted":true}\n',
]

/** An offer is taken with every field right or not at all; reports are the same however they are cut, and none comes after a wrong one. */
export const CHANNEL: Target = {
  name: 'channel',
  start: async () => ({
    make: (random) => {
      const isOffer = random.isSo(0.5)
      const corpus = isOffer ? OFFERS : REPORTS
      const text = mutate(random, random.pick(corpus), corpus)
      return { isOffer, text, cuts: cuts(random, text.length, 5) }
    },
    attempt: ({ isOffer, text, cuts: places }) => {
      const bytes = Buffer.from(String(text), 'latin1')
      if (isOffer === true) tryOffer(bytes)
      else tryReports(bytes, places as readonly number[])
    },
  }),
}

function tryOffer(bytes: Buffer): void {
  const decoded = decodeOffer(bytes)
  if (decoded.kind === 'invalid') return
  const { offer, received } = decoded
  assert.ok(Number.isSafeInteger(received) && received >= 0)
  // What was taken is whole: it can be said again, and is the same.
  const again = decodeOffer(Buffer.from(offerText(offer, received)))
  assert.equal(again.kind, 'offer')
}

function tryReports(bytes: Buffer, places: readonly number[]): void {
  const whole = reportsOf(bytes, [])
  assert.deepEqual(reportsOf(bytes, places), whole, 'cuts change what is read')
  const end = whole.findIndex(({ kind }) => kind === 'invalid' || kind === 'refused')
  assert.ok(end === -1 || end === whole.length - 1, 'something comes behind the last report')
  assert.ok(whole.every(({ kind }, index) => (kind === 'accepted' ? index === 0 : kind !== 'usage' || index > 0)))
}

function reportsOf(bytes: Buffer, places: readonly number[]): Report[] {
  const reader = new ReportReader()
  const reports: Report[] = []
  let from = 0
  for (const cut of [...places, bytes.length]) {
    reports.push(...reader.write(bytes.subarray(from, cut)))
    from = cut
  }
  return reports
}

/** The sample with its options in force: lines that begin with `#` and a key. */
const CONFIGURATIONS: Corpus = [
  sampleConfig(),
  sampleConfig().replaceAll(/^#\s?([a-z-]+ = .*)$/gm, '$1'),
  '[[listeners]]\naddress = "127.0.0.1:0"\n[services.policies.svc]\nroles = ["pool-admin"]\n',
]

/** A file is a configuration, or what is wrong with it is said, each at a line that the file has. */
export const CONFIG: Target = {
  name: 'config',
  start: async (t) => {
    const path = join(await scopeOf(t).directory(), 'xengate.toml')
    let taken = 0
    return {
      make: (random) => ({ text: mutate(random, random.pick(CONFIGURATIONS), CONFIGURATIONS) }),
      attempt: async ({ text }) => {
        writeFileSync(path, String(text), 'latin1')
        try {
          await loadConfig(path)
          taken++
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error
          const lines = String(text).split('\n').length
          assert.ok(error.problems.length > 0)
          for (const { line, message } of error.problems)
            assert.ok(line <= lines && message !== '' && !/\n {4}at /.test(message), message)
        }
      },
      finish: () => `${taken} were configurations`,
    }
  },
}
