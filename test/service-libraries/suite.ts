// What every library for services has to do, whatever its language: as a process, in literal bytes.

import type { Scope } from '../harness/scope.ts'
import { testChannels } from './channels.ts'
import { testForwarding } from './forwarding.ts'
import { testBehindGateway } from './gateway.ts'
import type { Library } from './library.ts'
import { testMalformed } from './malformed.ts'
import { testProcesses } from './processes.ts'
import { testRequests } from './requests.ts'
import { Rig } from './rig.ts'

/** Declares the tests of `library`. @param suite lives as long as they run */
export function testLibrary(suite: Scope, library: Library): void {
  const rig = new Rig(suite, library)
  testRequests(rig)
  testMalformed(rig)
  testForwarding(rig)
  testChannels(rig)
  testProcesses(rig)
  testBehindGateway(rig)
}
