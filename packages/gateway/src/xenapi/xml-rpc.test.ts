import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import fc from 'fast-check'

import { MalformedCallError, XenApiError } from './errors.ts'
import { readResponse, writeCall } from './testing/foreign.ts'
import type { RpcValue } from './values.ts'
import { formatXmlRpcError, formatXmlRpcResult, parseXmlRpcCall } from './xml-rpc.ts'
import { escapeXml, parseXml } from './xml.ts'

const HEAD = '<?xml version="1.0" encoding="UTF-8"?><methodResponse><params><param>'
// oxlint-disable-next-line no-control-regex -- what XML cannot hold
const NOT_XML = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g

const TAIL = '</param></params></methodResponse>'

/** The one parameter of a call whose parameter is `value` on the wire. */
function parsed(value: string): RpcValue | undefined {
  return parseXmlRpcCall(
    `<methodCall><methodName>a.b</methodName><params><param>${value}</param></params></methodCall>`,
  ).params[0]
}

describe('XML', { timeout: 300_000 }, () => {
  test('is read with texts joined, whatever they are written as', () => {
    const document = `\u{feff}<?xml version="1.0"?>\n<!-- <a> -->\n<a x="1" y='>'>b&lt;&#99;&#x64;<![CDATA[<e>&f;]]>g\r\nh\ri<!--j--><m/></a >\n<!-- n -->`
    assert.deepEqual(parseXml(document), {
      name: 'a',
      children: ['b<cd<e>&f;g\nh\ni', { name: 'm', children: [] }],
    })
  })

  test('is refused when it is not well-formed, or could blow up', () => {
    const refused = [
      '',
      'a',
      '<a>',
      '</a>',
      '<a></b>',
      '<a/><b/>',
      '<a/>b',
      'b<a/>',
      '<a><b></a></b>',
      '<a b></a>',
      '<a b=c></a>',
      '<a b="<"></a>',
      '< a></a>',
      '<a>&</a>',
      '<a>&b;</a>',
      '<a>&nbsp;</a>',
      '<a>&constructor;</a>',
      '<a>&#0;</a>',
      '<a>&#x1f;</a>',
      '<a>&#xd800;</a>',
      '<a>&#x110000;</a>',
      '<a>&#xffff;</a>',
      '<a>\u{1}</a>',
      '<a>]]></a>',
      '<a><!--</a>',
      '<a><![CDATA[</a>',
      '<![CDATA[a]]><a/>',
      '<!DOCTYPE a><a/>',
      '<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>',
      '<a><!ENTITY b "b"></a>',
      // What other parsers let pass, or read in another way.
      '<a><![b]]></a>',
      '<a></a/></a>',
      '<a></a b="c>d"/></a>',
      '<a/><![CDATA[b]]>',
      '</top><top>',
      '<a></top><top></a>',
      '<?k?><a/>',
      "<a><?k '?><b/><?k '?></a>",
      '<a b="&c;"/>',
      '<a b="c" b="c"/>',
      '<a b="<!--"><!DOCTYPE a>--></a>',
      '<a ==/>',
      "<?xml '?><a/><!-- '?><b/> -->",
      '<a><!-- -- --></a>',
      '&#10;<a/>',
      '<a>\ud800<b/></a>',
      '<a>'.repeat(64) + '</a>'.repeat(64),
    ]
    for (const document of refused) assert.throws(() => parseXml(document), MalformedCallError, document)
    assert.ok(parseXml('<a>'.repeat(63) + '</a>'.repeat(63)))
    assert.ok(parseXml('<a><![CDATA[<!DOCTYPE a><?k?>]]><!-- <!DOCTYPE a> --></a>'))
  })

  test('is refused without a word of what it holds', () => {
    for (const document of ['<a>secret', '<secret></a>', '<a>&secret;</a>', '<a secret/>', '<a/>secret']) {
      assert.throws(
        () => parseXml(document),
        (error: Error) => !error.message.includes('secret') && error.cause === undefined,
      )
    }
  })

  test('is harmless when an element or an attribute has the name of something in JavaScript', () => {
    for (const name of ['__proto__', 'constructor', 'prototype', 'toString']) {
      const document = `<${name} ${name}="x"><a/></${name}>`
      assert.deepEqual(parseXml(document), { name, children: [{ name: 'a', children: [] }] })
    }
    assert.equal(Object.hasOwn(Object.prototype, 'a'), false)
  })

  test('takes time in proportion to its length', () => {
    const startMs = performance.now()
    const long = 1_000_000
    assert.throws(() => parseXml(`<a${' '.repeat(long)}`), MalformedCallError)
    assert.throws(() => parseXml(`<a${' b="c"'.repeat(long / 6)}`), MalformedCallError)
    assert.ok(parseXml(`<a${Array.from({ length: long / 12 }, (_, index) => ` b${index}="c"`).join('')}/>`))
    assert.throws(() => parseXml('<a>'.repeat(long / 3)), MalformedCallError)
    assert.throws(() => parseXml(`<a>${'&'.repeat(long)}</a>`), MalformedCallError)
    for (const open of ['<', '</a', '<!--', '<![CDATA[', '<?']) {
      assert.throws(() => parseXml(`<a>${open.repeat(long / open.length)}</a>`), MalformedCallError)
    }
    assert.deepEqual(parseXml(`<a>${'&amp;'.repeat(long / 5)}</a>`).children, ['&'.repeat(long / 5)])
    assert.equal(parseXml(`<a>${'<![CDATA[b]]>'.repeat(long / 13)}</a>`).children.length, 1)
    assert.equal(parseXml(`<a>${'<b/>c'.repeat(long / 5)}</a>`).children.length, (long / 5) * 2)
    assert.ok(performance.now() - startMs < 5_000)
  })

  test('is escaped so that every text survives, but for what XML cannot hold', () => {
    assert.equal(
      escapeXml('a<b>&"\'\r\n\t\u{0}\u{1b}\u{ffff}\u{d800}😀'),
      'a&lt;b&gt;&amp;"\'&#13;\n\t\u{fffd}\u{fffd}\u{fffd}\u{fffd}😀',
    )
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const children = parseXml(`<a>${escapeXml(text)}</a>`).children
        const expected = text.toWellFormed().replaceAll(NOT_XML, '\u{fffd}')
        assert.deepEqual(children, expected === '' ? [] : [expected])
      }),
      { seed: 1 },
    )
  })
})

describe('XML-RPC calls', { timeout: 300_000 }, () => {
  test('hold values of every type', () => {
    const cases: [string, RpcValue][] = [
      ['<value>a&amp;b</value>', 'a&b'],
      ['<value> a </value>', ' a '],
      ['<value></value>', ''],
      ['<value/>', ''],
      ['<value><string></string></value>', ''],
      ['<value><string/></value>', ''],
      ['<value>\n <string> a </string>\n</value>', ' a '],
      ['<value><string><![CDATA[<a>]]></string></value>', '<a>'],
      ['<value><int>-7</int></value>', -7],
      ['<value><i4> 7 </i4></value>', 7],
      ['<value><i8>9223372036854775807</i8></value>', '9223372036854775807'],
      ['<value><double>60.1</double></value>', 60.1],
      ['<value><double>1e3</double></value>', 1000],
      ['<value><boolean>1</boolean></value>', true],
      ['<value><boolean>0</boolean></value>', false],
      ['<value><dateTime.iso8601>20260131T00:00:00Z</dateTime.iso8601></value>', '20260131T00:00:00Z'],
      ['<value><nil/></value>', null],
      ['<value><array><data/></array></value>', []],
      ['<value><array><data><value>a</value><value><int>1</int></value></data></array></value>', ['a', 1]],
      ['<value><struct/></value>', {}],
      ['<value><struct><member><name>a</name><value>b</value></member></struct></value>', { a: 'b' }],
    ]
    for (const [wire, value] of cases) assert.deepEqual(parsed(wire), value, wire)
    assert.equal(parsed(`<value>${'x'.repeat(200_000)}</value>`), 'x'.repeat(200_000))
    const polluting = parsed('<value><struct><member><name>__proto__</name><value>b</value></member></struct></value>')
    assert.equal(Object.getPrototypeOf(polluting), Object.prototype)
  })

  test('may have no parameters', () => {
    const call = { method: 'system.listMethods', params: [] }
    assert.deepEqual(parseXmlRpcCall('<methodCall><methodName>system.listMethods</methodName></methodCall>'), call)
    const spaced =
      '<methodCall>\n <methodName> system.listMethods </methodName>\n <params>\n </params>\n</methodCall>\n'
    assert.deepEqual(parseXmlRpcCall(spaced), call)
  })

  test('are refused when they are not calls', () => {
    const refused = [
      '<methodResponse/>',
      '<methodCall/>',
      '<methodCall><params/></methodCall>',
      '<methodCall><methodName>a</methodName><params/><params/></methodCall>',
      '<methodCall>a<methodName>a</methodName></methodCall>',
      '<methodCall><methodName><b/></methodName></methodCall>',
      '<methodCall><methodName>a</methodName><params><value>b</value></params></methodCall>',
    ]
    for (const document of refused) assert.throws(() => parseXmlRpcCall(document), MalformedCallError, document)
    const values = [
      '',
      '<value/><value/>',
      '<string/>',
      '<value>a<int>1</int></value>',
      '<value><int>1</int><int>1</int></value>',
      '<value><int></int></value>',
      '<value><int>1.5</int></value>',
      '<value><double>NaN</double></value>',
      '<value><boolean>true</boolean></value>',
      '<value><thing/></value>',
      '<value><array/></value>',
      '<value><array><data>a</data></array></value>',
      '<value><struct><member><value/></member></struct></value>',
      '<value><struct><member><name>a</name></member></struct></value>',
      '<value><string><b/></string></value>',
    ]
    for (const wire of values) assert.throws(() => parsed(wire), MalformedCallError, wire)
  })

  test("are read like Xen Orchestra's client writes them", () => {
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.boolean(),
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true }).filter(isNumberOfTheWire),
        texts(),
        tie('array'),
        tie('struct'),
      ),
      array: fc.array(tie('value'), { maxLength: 3 }),
      struct: fc.dictionary(texts(), tie('value'), { maxKeys: 3, noNullPrototype: true }),
    })).value
    fc.assert(
      fc.property(fc.array(value, { maxLength: 3 }), (params) => {
        const document = writeCall('a.b', params)
        // JSON has no negative zero, and neither has the wire.
        const expected: unknown = JSON.parse(JSON.stringify({ method: 'a.b', params }))
        assert.deepEqual(JSON.parse(JSON.stringify(parseXmlRpcCall(document))), expected)
      }),
      { seed: 2 },
    )
  })
})

/** That writer gives large whole numbers as `int`, beyond what a number holds exactly. */
function isNumberOfTheWire(value: number): boolean {
  return !Number.isInteger(value) || Number.isSafeInteger(value)
}

/** Texts without what XML cannot hold, and without carriage returns, which that writer does not protect. */
function texts(): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom('a', '<', '&', '"', ' ', '\n', 'é', '😀', ']', '>', '_') })
}

describe('XML-RPC answers', { timeout: 300_000 }, () => {
  test('hold values of every type, as xapi writes them', () => {
    const cases: [RpcValue, string][] = [
      ['a<b>&\r', 'a&lt;b&gt;&amp;&#13;'],
      ['', ''],
      ['2', '2'],
      [true, '<boolean>1</boolean>'],
      [1, '<i4>1</i4>'],
      [0.5, '<double>0.5</double>'],
      [new Date(Date.UTC(2026, 0, 31, 1, 2, 3, 999)), '<dateTime.iso8601>20260131T01:02:03Z</dateTime.iso8601>'],
      [[], '<array><data></data></array>'],
      [['a', []], '<array><data><value>a</value><value><array><data></data></array></value></data></array>'],
      [{}, '<struct></struct>'],
      [{ '<': 'b' }, '<struct><member><name>&lt;</name><value>b</value></member></struct>'],
    ]
    for (const [value, wire] of cases) {
      const status = '<member><name>Status</name><value>Success</value></member>'
      const result = `<value><struct>${status}<member><name>Value</name><value>${wire}</value></member></struct></value>`
      assert.equal(formatXmlRpcResult(value), HEAD + result + TAIL)
    }
  })

  test('of failed calls hold the code and its parameters', () => {
    assert.equal(
      formatXmlRpcError(new XenApiError('HANDLE_INVALID', ['host', '<a>'])),
      `${HEAD}<value><struct><member><name>Status</name><value>Failure</value></member><member><name>ErrorDescription</name>` +
        `<value><array><data><value>HANDLE_INVALID</value><value>host</value><value>&lt;a&gt;</value></data></array></value>` +
        `</member></struct></value>${TAIL}`,
    )
  })

  test("are read back by Xen Orchestra's parser", () => {
    const value = {
      text: ' a & <b>\n',
      empty: '',
      flag: false,
      count: 3,
      set: ['x', ''],
      map: { 'k<': 'v' },
      none: [],
      nothing: {},
    }
    assert.deepEqual(readResponse(formatXmlRpcResult(value)), { params: [{ Status: 'Success', Value: value }] })
  })
})
