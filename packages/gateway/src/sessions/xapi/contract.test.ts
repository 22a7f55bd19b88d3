import { authorityContract } from '../testing/contract.ts'
import { authorityOf, localSettings, standInOf, TRUST } from './testing/start.ts'

authorityContract({
  name: 'xapi',
  capabilities: { heardWithinMs: TRUST.recheckMs, isRemote: true, staleGraceMs: TRUST.staleGraceMs },
  start: async (t) => {
    const standIn = await standInOf(t)
    const authority = authorityOf(t, localSettings(standIn))
    return {
      authority,
      signIn: standIn.login,
      endElsewhere: async (session) => {
        await standIn.order({ order: 'logout', session })
      },
      takeAway: async (how) => {
        if (how === 'gone') await standIn.order({ order: 'close' })
        else await standIn.fault({ kind: 'hang' })
      },
      bringBack: async () => {
        await standIn.fault({ kind: 'none' })
        await standIn.order({ order: 'close' })
        await standIn.order({ order: 'open' })
      },
    }
  },
})
