// The Go library, libraries/go, in the suite; and that its sources are formatted, and nothing in them is suspicious.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { run } from '../harness/child.ts'
import { scopeOf, scopeOfSuite } from '../harness/scope.ts'
import { testDesync } from './desync.ts'
import { go, goEnvironment, hasGo, ROOT } from './library.ts'
import { Rig } from './rig.ts'
import { testLibrary } from './suite.ts'

const suite = scopeOfSuite()
if (await hasGo(suite)) {
  const library = await go(suite)
  testLibrary(suite, library)
  // net/http takes no target of which it cannot make a URL.
  testDesync(new Rig(suite, library), ['a percent that is none'])

  test('the sources are as gofmt has them, and vet finds nothing', { timeout: 110_000 }, async (t) => {
    const scope = scopeOf(t)
    for (const directory of ['libraries/go', 'test/services/go_service']) {
      const cwd = join(ROOT, directory)
      assert.equal((await run(scope, 'gofmt', ['-l', '.'], { cwd })).stdout, '')
      const { code, stderr } = await run(scope, 'go', ['vet', '.'], { cwd, env: goEnvironment(), deadlineMs: 100_000 })
      assert.equal(code, 0, stderr)
    }
  })
} else {
  test('the Go library', { skip: 'go is not on this machine' })
}
