// What npm run package makes: the same from the same commit, installable, and gone without a trace. The suites are in one process,
// since they share the packages.

import { testContents } from './packaging/contents.ts'
import { testInstalled } from './packaging/installed.ts'
import { testRepositories } from './packaging/repositories.ts'

testContents()
testInstalled()
testRepositories()
