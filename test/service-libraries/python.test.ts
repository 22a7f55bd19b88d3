// The Python library, libraries/python/xengate_service.py, in the suite, and what is its own. With the python3 of the machine, and with
// Python 3.6 where there is one.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { IDENTITY_LINES, requestText } from '../../packages/service/src/testing/fixture.ts'
import { TARGET } from '../../packages/service/src/testing/gateway.ts'
import { run } from '../harness/child.ts'
import { until, within } from '../harness/deadline.ts'
import { scopeOf, scopeOfSuite } from '../harness/scope.ts'
import { testDesync } from './desync.ts'
import { PYTHON, ROOT } from './library.ts'
import { DEADLINE, Rig } from './rig.ts'
import { testLibrary } from './suite.ts'

const suite = scopeOfSuite()
testLibrary(suite, PYTHON)
testDesync(new Rig(suite, PYTHON))

test('the library is Python 3.6', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const program = 'import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 6))'
  const library = join(ROOT, 'libraries/python/xengate_service.py')
  const { code, stderr } = await run(scope, 'python3', ['-c', program, library])
  assert.equal(code, 0, stderr)
  const has36 = (await run(scope, 'sh', ['-c', 'python3.6 -c pass'])).code === 0
  const [, ...argv] = PYTHON.command
  for (const python of has36 ? ['python3', 'python3.6'] : ['python3']) {
    const rig = new Rig(suite, { ...PYTHON, command: [python, ...argv] })
    const { client, child } = await rig.started(t)
    assert.equal((await (await client()).exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
    assert.deepEqual(await child.stop(), { code: 0, signal: null })
    assert.equal(child.stderr, '')
  }
})

describe('in Python', () => {
  const rig = new Rig(suite, PYTHON)

  test('HEAD and 204 have no body, whatever the handler writes', DEADLINE, async (t) => {
    const { client, gateway } = await rig.running(t)
    gateway.offer = { methods: ['GET', 'HEAD'] }
    const one = await client()
    await one.send(requestText('HEAD', '/hello'))
    assert.equal((await one.response(true)).header('content-length'), '11')
    const empty = await one.exchange(requestText('GET', '/empty'))
    assert.deepEqual([empty.status, empty.reason, empty.header('content-length')], [204, 'Nothing Here', undefined])
    assert.equal((await one.exchange(requestText('GET', '/hello'))).text, 'hello zoë\n')
  })

  test(
    'an answer that cannot be said is a 500 with a traceback, and one that is too short a cut',
    DEADLINE,
    async (t) => {
      const { client, errors } = await rig.running(t)
      const one = await client()
      for (const path of ['/fail', '/returns', '/smuggled']) {
        const response = await one.exchange(requestText('GET', path))
        assert.deepEqual([response.status, response.text], [500, 'The service failed.\n'])
      }
      await until(() => errors().includes('cannot send the field'), 'the lines')
      assert.match(errors(), /^cannot answer GET \/services\/plugin\/com\.example\.svc\/fail: Traceback/)
      await one.send(requestText('GET', '/short'))
      assert.doesNotMatch((await one.end()).toString(), /^HTTP\/1\.1 200[^]*abc.{7}/)
    },
  )

  test('a body that waits for 100 Continue, and is not read, makes its answer the last', DEADLINE, async (t) => {
    const { client } = await rig.running(t)
    const one = await client()
    await one.send(requestText('PUT', '/hello', 'Expect: 100-continue\r\nContent-Length: 3\r\n'))
    assert.equal((await one.response()).header('connection'), 'close')
  })

  test('channels beyond the most are refused, and their requests relayed', DEADLINE, async (t) => {
    const { client, gateway } = await rig.started(t, { connections: 1 })
    assert.equal((await (await client()).exchange(requestText('GET', '/hello'))).status, 200)
    const two = await client()
    await two.send(requestText('GET', '/hello'))
    const refused = await until(() => gateway.channels[1], 'an offer')
    await within(
      refused.reported(
        (report) => report.kind === 'refused' && report.why === 'there are 1 channels, which is the most',
      ),
      'a refusal',
    )
    two.destroy()
    await once(two.socket, 'close')
  })
})

describe('WSGI', () => {
  const rig = new Rig(suite, { ...PYTHON, options: { wsgi: true } })

  test('environ says who asks and what for', DEADLINE, async (t) => {
    const { client, relayed } = await rig.running(t)
    const lines = 'X_Forwarded_For: 9.9.9.9\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\nContent-Type: a/b\r\n'
    for (const [one, more] of [
      [await client(), ''],
      [await relayed(), IDENTITY_LINES],
    ] as const) {
      const seen = JSON.parse((await one.exchange(requestText('POST', '/a%20b?c=%20', lines + more, 'abc'))).text)
      assert.equal(seen.REMOTE_USER, Buffer.from('zoë').toString('latin1'))
      assert.equal(seen.caller.user, 'zoë')
      assert.deepEqual([seen.SCRIPT_NAME, seen.PATH_INFO, seen.QUERY_STRING], [TARGET, '/a b', 'c=%20'])
      assert.deepEqual([seen.REMOTE_ADDR, seen.HTTP_X_FORWARDED_FOR, seen.HTTP_X_A], ['127.0.0.1', '127.0.0.1', '1,2'])
      assert.deepEqual([seen.CONTENT_LENGTH, seen.CONTENT_TYPE, seen.body], ['3', 'a/b', 'abc'])
      assert.deepEqual([seen.SERVER_NAME, seen.SERVER_PORT], ['h', '80'])
    }
  })

  test('answers come by a list, a file and `write`; exc_info replaces what was said before', DEADLINE, async (t) => {
    const { client } = await rig.running(t)
    const one = await client()
    const late = await one.exchange(requestText('GET', '/late'))
    assert.deepEqual([late.status, late.header('x-late'), late.text], [418, 'yes', 'short and stout'])
    assert.match((await one.exchange(requestText('GET', '/file'))).text, /^"""A service on the Python library/)
    assert.equal((await one.exchange(requestText('GET', '/written'))).text, 'by write')
    const whole = await one.exchange(requestText('GET', ''))
    assert.equal(whole.header('content-length'), String(whole.body.length))
  })
})
