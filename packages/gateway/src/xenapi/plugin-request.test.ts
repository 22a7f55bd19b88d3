// Which bodies are read as calls of host.call_plugin on their way to xapi, and which are xapi's.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { XenApiError } from './errors.ts'
import { readPluginRequest, sessionInPluginRequest } from './plugin-request.ts'

const SESSION = 'OpaqueRef:11111111-1111-4111-8111-111111111111'
const HOST = 'OpaqueRef:33333333-3333-4333-8333-333333333333'
const TEXTS = [SESSION, HOST, 'updater.py', 'check_update']

const param = (content: string): string => `<param><value>${content}</value></param>`
const member = (name: string, value = 'b'): string => `<member><name>${name}</name><value>${value}</value></member>`

function xml(
  args = member('a'),
  texts = TEXTS,
  method = 'host.call_plugin',
  start = "<?xml version='1.0'?>\n",
): string {
  const params = [...texts.map((text) => `<string>${text}</string>`), `<struct>${args}</struct>`].map(param).join('\n')
  return `${start}<methodCall>\n<methodName>${method}</methodName>\n<params>${params}</params>\n</methodCall>\n`
}

const json = (more: object = {}): string =>
  JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'host.call_plugin', params: [...TEXTS, { a: 'b' }], ...more })

const read = (path: string, text: string, encoding: BufferEncoding = 'utf8') =>
  readPluginRequest(path, Buffer.from(text, encoding))

for (const [what, path, text, args] of [
  ['XML as Python writes it', '/', xml(), { a: 'b' }],
  ['XML without types', '/RPC2', xml().replaceAll(/<\/?string>/g, ''), { a: 'b' }],
  ['XML with entities in an argument', '/', xml(member('a', '&lt;&#233;&gt;')), { a: '<é>' }],
  ['XML with no argument', '/', xml(''), {}],
  ['JSON-RPC 2.0', '/jsonrpc', json(), { a: 'b' }],
  ['JSON-RPC 1.0', '/jsonrpc', json({ jsonrpc: undefined, id: 'x' }), { a: 'b' }],
  [
    'JSON with colons, quotes and escapes in an argument',
    '/jsonrpc',
    json({ params: [...TEXTS, { 'a:"': '\\":{"x":1}é' }] }),
    { 'a:"': '\\":{"x":1}é' },
  ],
  [
    'an argument of an odd name',
    '/jsonrpc',
    json().replace('"a"', '"__proto__"'),
    Object.fromEntries([['__proto__', 'b']]),
  ],
] as const) {
  test(`is read: ${what}`, () => {
    const request = read(path, text)
    assert.ok(request)
    const { sessionId, host, plugin, fn } = request
    assert.deepEqual([sessionId, host, plugin, fn, request.args], [...TEXTS, args])
    assert.equal(sessionInPluginRequest(Buffer.from(text)), SESSION)
  })
}

test('the answer is in the format of the call', () => {
  const error = new XenApiError('XENAPI_PLUGIN_FAILURE', ['500', '<', ''])
  const asXml = read('/', xml())
  assert.match(asXml?.succeeded('<v>') ?? '', /<name>Value<\/name><value>&lt;v&gt;<\/value>/)
  assert.match(asXml?.failed(error) ?? '', /ErrorDescription.*XENAPI_PLUGIN_FAILURE.*500.*&lt;/)
  const asJson = read('/jsonrpc', json())
  assert.equal(asJson?.succeeded('v'), '{"jsonrpc":"2.0","result":"v","id":7}')
  assert.match(asJson?.failed(error) ?? '', /"code":1,"message":"XENAPI_PLUGIN_FAILURE"/)
})

for (const [what, path, text] of [
  ['another method', '/', xml(undefined, undefined, 'host.call_extension')],
  ['an asynchronous call', '/', xml(undefined, undefined, 'Async.host.call_plugin')],
  ['the method with an entity', '/', xml(undefined, undefined, 'host.call&#95;plugin')],
  ['the method with white space', '/', xml(undefined, undefined, ' host.call_plugin')],
  ['the method in an argument of another call', '/', xml(member('m', 'host.call_plugin'), undefined, 'pool.get_all')],
  ['the method twice', '/', xml().replace('<params>', '<methodName>host.call_plugin</methodName><params>')],
  ['no text for a session', '/', xml().replace(`<string>${SESSION}</string>`, '<int>1</int>')],
  ['a session in base64', '/', xml().replace(`<string>${SESSION}</string>`, `<base64>${SESSION}</base64>`)],
  ['an argument that is no text', '/', xml(member('a', '<int>1</int>'))],
  ['an argument twice', '/', xml(member('a') + member('a', 'c'))],
  ['a parameter too many', '/', xml().replace('</params>', `${param('x')}</params>`)],
  ['a parameter too few', '/', xml(undefined, TEXTS.slice(0, 3))],
  ['a comment', '/', xml().replace('<params>', '<!-- x --><params>')],
  ['CDATA', '/', xml(member('a', '<![CDATA[x]]>'))],
  ['a DOCTYPE', '/', xml(undefined, undefined, undefined, '<!DOCTYPE a [<!ENTITY b "c">]>')],
  ['an attribute', '/', xml().replace('<params>', '<params a="b">')],
  ['another encoding', '/', xml(undefined, undefined, undefined, '<?xml version="1.0" encoding="iso-8859-1"?>')],
  [
    'another encoding, with a space',
    '/',
    xml(undefined, undefined, undefined, "<?xml version='1.0' encoding = 'utf-16'?>"),
  ],
  ['a byte order mark', '/', `\u{feff}${xml()}`],
  ['XML that is cut', '/', xml().slice(0, -3)],
  ['JSON where XML is taken', '/', json()],
  ['XML where JSON is taken', '/jsonrpc', xml()],
  ['a batch', '/jsonrpc', `[${json()}]`],
  ['the method twice in JSON', '/jsonrpc', json().replace('{', '{"method":"pool.get_all",')],
  ['the parameters twice in JSON', '/jsonrpc', json().replace('{', '{"params":[],')],
  ['an argument twice in JSON', '/jsonrpc', json().replace('"a":"b"', '"a":"b","a":"c"')],
  ['an argument twice, once with an escape', '/jsonrpc', json().replace('"a":"b"', '"a":"b","\\u0061":"c"')],
  ['the method with an escape', '/jsonrpc', json().replace('host.', 'host\\u002e')],
  ['a member that is not known', '/jsonrpc', json({ x: 1 })],
  ['a nested argument', '/jsonrpc', json({ params: [...TEXTS, { a: { b: 'c' } }] })],
  ['a list for arguments', '/jsonrpc', json({ params: [...TEXTS, ['a']] })],
  ['no id', '/jsonrpc', json({ id: undefined })],
  ['two values', '/jsonrpc', json() + json()],
  ['a function that is no Unicode', '/jsonrpc', json().replace('check_update', '\\ud800')],
] as const) {
  test(`is xapi's: ${what}`, () => {
    assert.equal(read(path, text), null)
  })
}

test("is xapi's: what is not UTF-8, and a body that is cut anywhere", () => {
  assert.equal(read('/', xml(member('a', 'é')), 'latin1'), null)
  for (const [path, text] of [
    ['/', xml().trimEnd()],
    ['/jsonrpc', json()],
  ] as const) {
    assert.ok(read(path, text))
    for (let end = 0; end < text.length; end++) assert.equal(read(path, text.slice(0, end)), null, `${path} ${end}`)
  }
})
