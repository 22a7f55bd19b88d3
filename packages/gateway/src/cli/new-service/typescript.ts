// Templates of a service in TypeScript. `%NAME%` is the service's name.

export const TYPESCRIPT_SERVICE = `// The custom service %NAME%: service.ts [DIRECTORY], where the gateway looks; by default /var/xapi/plugin.

import { serve } from '@xengate/service'

const NAME = '%NAME%'
const PREFIX = \`/services/plugin/\${NAME}\`

await serve({
  name: NAME,
  directory: process.argv[2] ?? '/var/xapi/plugin',
  handler: async (request, response) => {
    const [path] = request.url?.split('?') ?? []
    if (path === PREFIX && request.method === 'GET') {
      response.end(\`hello \${request.xen.user}\\n\`)
    } else if (path === \`\${PREFIX}/size\` && (request.method === 'PUT' || request.method === 'POST')) {
      // The body is read as it comes, and never kept whole.
      let size = 0
      for await (const part of request) size += part.length
      response.end(\`\${size} bytes\\n\`)
    } else {
      response.writeHead(404).end('There is nothing here.\\n')
    }
  },
})
`

export const TYPESCRIPT_TEST = `// Signs in at a gateway and calls the service, which has to run.
//
// XENGATE_URL is the gateway (by default http://127.0.0.1:8080), XENGATE_USER and XENGATE_PASSWORD who signs in (by default root, with
// the password that \`xengate dev\` has left in .xengate/password).

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { login } from '@xengate/client'

const url = process.env.XENGATE_URL ?? 'http://127.0.0.1:8080'
const user = process.env.XENGATE_USER ?? 'root'

let gateway: Awaited<ReturnType<typeof login>>
before(async () => {
  const password = process.env.XENGATE_PASSWORD ?? readFileSync('.xengate/password', 'utf8').trim()
  gateway = await login(url, { user, password, originator: 'test of %NAME%' })
})
after(() => gateway?.logout())

test('says who asks', async () => {
  const response = await gateway.service('%NAME%').get('')
  assert.equal(await response.text(), \`hello \${user}\\n\`)
})

test('reads a body', async () => {
  const response = await gateway.service('%NAME%').put('/size', 'x'.repeat(1_000_000))
  assert.equal(await response.text(), '1000000 bytes\\n')
})

test('has nothing elsewhere', async () => {
  const response = await gateway.service('%NAME%').fetch('/none')
  assert.equal(response.status, 404)
  await response.body?.cancel()
})

test('is not reached without a session', async () => {
  const response = await fetch(\`\${url}/services/plugin/%NAME%\`)
  assert.equal(response.status, 403)
  await response.body?.cancel()
})
`

export const TYPESCRIPT_MANIFEST = `{
  "name": "custom-service",
  "version": "0.1.0",
  "private": true,
  "type": "module",
  "engines": {
    "node": ">=22.18"
  },
  "scripts": {
    "test": "node --test"
  },
  "dependencies": {
    "@xengate/service": "^0.1.0"
  },
  "devDependencies": {
    "@xengate/client": "^0.1.0"
  }
}
`

export const TYPESCRIPT_README = `# %NAME%

A custom service in TypeScript, on \`@xengate/service\`. It runs on Node.js 22.18 and later as it is: nothing has to be compiled.

## Install what it needs

\`@xengate/service\` and \`@xengate/client\` are not on npm's registry yet. Make their packages in a checkout of Xengate:

\`\`\`sh
npm pack -w @xengate/channel -w @xengate/service -w @xengate/client --pack-destination /tmp
\`\`\`

Then, in this directory:

\`\`\`sh
npm install /tmp/xengate-channel-0.1.0.tgz /tmp/xengate-service-0.1.0.tgz /tmp/xengate-client-0.1.0.tgz
\`\`\`

## Try it

Each in a terminal of its own, in this directory:

\`\`\`sh
xengate dev
node service.ts .xengate/plugin
npm test
\`\`\`

\`xengate login http://127.0.0.1:8080 --user root\` and \`xengate get %NAME%\` call it by hand; the password is in \`.xengate/password\`.

## Install it on a host

\`\`\`sh
mkdir -p /opt/%NAME% && cp -r package.json service.ts node_modules /opt/%NAME%/
cp %NAME%.service %NAME%.socket /etc/systemd/system/
systemctl daemon-reload && systemctl enable --now %NAME%.socket
\`\`\`

systemd listens on the sockets, and starts the service at the first request. \`journalctl -u %NAME%\` shows what it prints.
`
