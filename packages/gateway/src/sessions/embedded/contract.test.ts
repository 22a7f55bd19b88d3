import { authorityContract } from '../testing/contract.ts'
import { connect, startAuthority } from './testing/state.ts'

authorityContract({
  name: 'embedded',
  // Other processes' writes are looked for every 100 ms.
  capabilities: { heardWithinMs: 200, isRemote: false, staleGraceMs: 0 },
  start: async (t) => {
    const { authority, path } = startAuthority(t)
    await authority.users.add('root', 'pw', 'pool-admin')
    await authority.users.add('olga', 'pw', 'pool-operator')
    await authority.users.add('rita', 'pw', 'read-only')
    const cannot = (): Promise<void> => Promise.reject(new Error('the database is in this process'))
    return {
      authority,
      signIn: async (user, originator = '') =>
        (await authority.login({ user, password: 'pw', originator, clientAddress: '' })).id,
      endElsewhere: async (id) => {
        const uuid = (await authority.record(id))?.session.uuid ?? ''
        connect(t, path).prepare('DELETE FROM sessions WHERE uuid = ?').run(uuid)
      },
      takeAway: cannot,
      bringBack: cannot,
    }
  },
})
