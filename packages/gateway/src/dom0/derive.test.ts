// The script that derives stunnel's file, with each awk that a host may have.

import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { derive } from './derive.ts'
import { hostAt } from './host.ts'
import { stunnelFile } from './testing/stunnel-file.ts'

const AWKS = { gawk: '/usr/bin/gawk', mawk: '/usr/bin/mawk', busybox: '/bin/busybox' } as const
const HOST = hostAt('')
const OWN = stunnelFile()

let root: string
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'xg-'))
  for (const [name, path] of Object.entries(AWKS)) {
    await mkdir(join(root, name))
    await symlink(path, join(root, name, 'awk'))
  }
})
after(() => rm(root, { recursive: true }))

/** What the script makes of `text`. */
async function derived(awk: string, text: string): Promise<{ readonly reason: string | null; readonly text: string }> {
  const [own, into] = [join(root, 'own.conf'), join(root, 'run/derived.conf')]
  await writeFile(own, text)
  const reason = await derive(HOST, own, into, { PATH: `${join(root, awk)}:/usr/bin:/bin` })
  return { reason, text: await readFile(into, 'utf8') }
}

const DOUBTFUL: readonly (readonly [string, string, RegExp])[] = [
  ['clients with certificates', stunnelFile({ clientName: 'client' }), /certificates \(redirect in \[xapi\]\)/],
  ['an empty file', '', /empty/],
  ['another port', stunnelFile({ xapiPort: 81 }), /not exactly one line connect = 80/],
  ['two of the same line', OWN.replace('connect = 80', 'connect = 80\nconnect = 80'), /not exactly one line connect/],
  ['no connect', OWN.replace('connect = 80', ''), /not exactly one line connect/],
  ['an address', OWN.replace('connect = 80', 'connect = 127.0.0.1:80'), /not exactly one line connect/],
  ['no section for the pool', OWN.slice(0, OWN.indexOf('[pool]')), /no section \[pool\]/],
  ['a second [xapi]', `${OWN}\n[xapi]\nconnect = 80`, /not exactly one section \[xapi\]/],
  ['an unknown option', OWN.replace('cert =', 'exec = /bin/sh\ncert ='), /option exec in \[xapi\] is not known/],
  ['a client’s check in capitals', OWN.replace('cert =', 'VERIFYCHAIN = yes\ncert ='), /certificates \(verifychain/],
  ['no PROXY line', OWN.replace('protocol = proxy', ''), /addresses of clients/],
  ['another protocol', OWN.replace('protocol = proxy', 'protocol = imap'), /addresses of clients/],
  ['files that are included', `include = /etc/stunnel/conf.d\n${OWN}`, /line 1 includes other files/],
  ['what is no option', OWN.replace('fips = no', 'fips'), /line 2 has no option/],
]

for (const awk of Object.keys(AWKS)) {
  describe(`derived by ${awk}`, { timeout: 120_000 }, () => {
    for (const accept of [':::', '', '::1:', '127.0.0.1:']) {
      test(`Xengate comes before xapi in [xapi] alone, with accept = ${accept}443`, async () => {
        const own = stunnelFile({ accept })
        const lines = ['connect = /run/xengate/front.sock', 'connect = 80', 'failover = prio']
        const expected = own.replace('connect = 80', lines.join('\n'))
        assert.deepEqual(await derived(awk, own), { reason: null, text: `${expected}\n` })
      })
    }

    test('spaces, capitals and comments do not matter', async () => {
      const own = OWN.replace('connect = 80', '  Connect=80  ').replace('[xapi]', '# connect = 80\n[xapi]')
      const { reason, text } = await derived(awk, own)
      assert.equal(reason, null)
      assert.match(text, /^\[xapi\]$[^[]*^connect = \/run\/xengate\/front\.sock\nconnect = 80\nfailover = prio$/m)
    })

    for (const [title, own, reason] of DOUBTFUL) {
      test(`${title}: the file stays as xapi wrote it, and why is said`, async () => {
        const found = await derived(awk, own)
        assert.match(String(found.reason), reason)
        assert.equal(found.text, own)
      })
    }
  })
}

test('without a file of xapi there is no derived one, not even an old one', { timeout: 60_000 }, async () => {
  const into = join(root, 'old.conf')
  await writeFile(into, 'old')
  assert.match(String(await derive(HOST, join(root, 'none'), into, { PATH: '/usr/bin:/bin' })), /none/)
  await assert.rejects(readFile(into), { code: 'ENOENT' })
})
