// What npm run package makes: the same from the same commit, installable, and gone without a trace. The suites are in one process,
// since they share the packages.

import './packaging/contents.ts'
import './packaging/installed.ts'
import './packaging/repositories.ts'
