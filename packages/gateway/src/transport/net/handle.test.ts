// Where Node.js does not show its handles, wires are streams from the start.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { HANDLES } from './handle.ts'

const DEADLINE = { timeout: 100_000 }
const HIDING = 'data:text/javascript,process.binding = undefined'

async function withoutHandles(...argv: readonly string[]): Promise<string> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const options = ['-C', '@xengate/source', '--import', HIDING, ...argv]
  const { stdout } = await promisify(execFile)(process.execPath, options, { env, maxBuffer: 64 * 1024 * 1024 })
  return stdout
}

test('this Node.js shows its handles, and one that does not is noticed', DEADLINE, async () => {
  assert.ok(HANDLES !== null)
  const script = `import { HANDLES } from '${import.meta.resolve('./handle.ts')}'\nconsole.log(HANDLES)`
  assert.equal(await withoutHandles('--input-type=module', '-e', script), 'null\n')
})

for (const suite of ['seam-bytes', 'seam-ends']) {
  test(`without them ${suite} is as with them`, DEADLINE, async () => {
    const file = join(import.meta.dirname, '..', `${suite}.test.ts`)
    const stdout = await withoutHandles('--test-name-pattern=^net', file)
    assert.match(stdout, /^ℹ pass [1-9]/m)
    assert.match(stdout, /^ℹ fail 0$/m)
  })
}
