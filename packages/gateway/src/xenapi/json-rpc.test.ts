import assert from 'node:assert/strict'
import { describe, test } from 'node:test'

import { MalformedCallError, XenApiError } from './errors.ts'
import { formatJsonRpcError, formatJsonRpcResult, parseJsonRpcCall } from './json-rpc.ts'

const ERROR = new XenApiError('HANDLE_INVALID', ['host', 'x'])

describe('JSON-RPC', { timeout: 300_000 }, () => {
  test('1.0 has result and error in every answer', () => {
    const call = parseJsonRpcCall('{"method":"a.b","params":["x",1,true,null,[],{}],"id":"xyz"}')
    assert.deepEqual(call, { version: '1.0', method: 'a.b', params: ['x', 1, true, null, [], {}], id: 'xyz' })
    assert.equal(formatJsonRpcResult(call, ['y']), '{"result":["y"],"error":null,"id":"xyz"}')
    assert.equal(formatJsonRpcError(call, ERROR), '{"result":null,"error":["HANDLE_INVALID","host","x"],"id":"xyz"}')
  })

  test('2.0 has result or error', () => {
    const call = parseJsonRpcCall('{"jsonrpc":"2.0","method":"a.b","params":[],"id":0}')
    assert.equal(formatJsonRpcResult(call, ''), '{"jsonrpc":"2.0","result":"","id":0}')
    const error = '{"code":1,"message":"HANDLE_INVALID","data":["host","x"]}'
    assert.equal(formatJsonRpcError(call, ERROR), `{"jsonrpc":"2.0","error":${error},"id":0}`)
  })

  test('has dates as texts, at any depth', () => {
    const call = parseJsonRpcCall('{"method":"a.b","params":[],"id":1}')
    const date = new Date(Date.UTC(2026, 0, 31))
    assert.equal(
      formatJsonRpcResult(call, { a: [date], n: 1 }),
      '{"result":{"a":["20260131T00:00:00Z"],"n":1},"error":null,"id":1}',
    )
  })

  test('requests that are none are refused, without quoting them', () => {
    const refused = [
      '',
      '{"secret',
      'null',
      '1',
      '[]',
      '[{"method":"a","params":[],"id":1}]',
      '{}',
      '{"method":"a","params":[]}',
      '{"method":"a","params":[],"id":null}',
      '{"method":"a","params":[],"id":1.5}',
      '{"method":"a","params":[],"id":9007199254740993}',
      '{"method":"a","params":[],"id":[]}',
      '{"method":"a","id":1}',
      '{"method":"a","params":{},"id":1}',
      '{"method":1,"params":[],"id":1}',
      '{"jsonrpc":"1.0","method":"a","params":[],"id":1}',
      '{"jsonrpc":2,"method":"a","params":[],"id":1}',
      '['.repeat(500_000),
    ]
    for (const text of refused) {
      assert.throws(
        () => parseJsonRpcCall(text),
        (error) => error instanceof MalformedCallError && !error.message.includes('secret'),
        text.slice(0, 80),
      )
    }
  })
})
