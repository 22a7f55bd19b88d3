import { setTimeout as pause } from 'node:timers/promises'

import { authorityContract } from '../testing/contract.ts'
import { addUsers, authorityOn, serverOf, signIn } from './testing/start.ts'

authorityContract({
  name: 'valkey',
  // What is promised for a logout on another gateway; a server that is silent is noticed later than that.
  capabilities: { heardWithinMs: 100, isRemote: true, staleGraceMs: 1000 },
  start: async (t) => {
    const server = await serverOf(t)
    const [authority, elsewhere] = [await authorityOn(t, server), await authorityOn(t, server)]
    await addUsers(elsewhere)
    let isGone = false
    return {
      authority,
      signIn: (user, originator) => signIn(elsewhere, user, originator),
      endElsewhere: async (id) => {
        // The other gateway, too, has to find the server again.
        while (!(await elsewhere.logout(id).catch(() => false))) await pause(10)
      },
      takeAway: async (how) => {
        isGone = how === 'gone'
        if (isGone) await server.stop('SIGKILL')
        else server.pause()
      },
      bringBack: async () => {
        if (isGone) await server.start()
        else server.resume()
      },
    }
  },
})
