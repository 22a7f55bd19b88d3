// A reporter of node:test: the files that took longest, at the end of a run.

import type { TestEvent } from 'node:test/reporters'

const SHOWN = 10

/** Names the slowest files with their seconds. */
export default async function* slowestFiles(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const msOf = new Map<string, number>()
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const { file, nesting, details } = event.data
    // Each file is a test of its own around those in it, which have no nesting either where files are processes.
    if (file === undefined || nesting !== 0) continue
    msOf.set(file, (msOf.get(file) ?? 0) + (details.duration_ms ?? 0))
  }
  const slowest = [...msOf].toSorted(([, one], [, other]) => other - one).slice(0, SHOWN)
  yield `\nThe slowest files, by the time of their tests:\n`
  for (const [file, ms] of slowest) {
    yield `${(ms / 1000).toFixed(1).padStart(7)} s  ${file.replace(`${process.cwd()}/`, '')}\n`
  }
}
