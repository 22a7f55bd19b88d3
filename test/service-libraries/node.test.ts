// @xengate/service in the suite; what is its own is tested in packages/service.

import { scopeOfSuite } from '../harness/scope.ts'
import { NODE } from './library.ts'
import { testLibrary } from './suite.ts'

testLibrary(scopeOfSuite(), NODE)
