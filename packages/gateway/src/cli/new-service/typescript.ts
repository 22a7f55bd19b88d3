// Templates of a service in TypeScript. `%NAME%` is the service's name.

import { tryIt } from './readme.ts'

export const TYPESCRIPT_SERVICE = `// The custom service %NAME%: service.ts [DIRECTORY], where the gateway looks; by default /var/xapi/plugin.

import { join } from 'node:path'
import { type RequestHandler, serve, ServiceError } from '@xengate/service'

const NAME = '%NAME%'
const PREFIX = \`/services/plugin/\${NAME}\`

const handler: RequestHandler = async (request, response) => {
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
}

const directory = process.argv[2] ?? '/var/xapi/plugin'
try {
  await serve({ name: NAME, directory, handler })
  console.log(\`listening on \${join(directory, NAME)}\`)
} catch (error) {
  if (!(error instanceof ServiceError)) throw error
  console.error(error.message)
  process.exitCode = 1
}
`

export const TYPESCRIPT_TEST = `// Signs in at a gateway and calls the service, which has to run.
//
// XENGATE_URL is the gateway (by default http://127.0.0.1:8080), XENGATE_USER and XENGATE_PASSWORD who signs in (by default root, with
// the password that \`xengate dev\` has left in .xengate/password, here or in the nearest directory above).

import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { login } from '@xengate/client'

const url = process.env.XENGATE_URL ?? 'http://127.0.0.1:8080'
const user = process.env.XENGATE_USER ?? 'root'

/** The password of the nearest gateway: this directory's, or that of one above. */
function foundPassword(): string {
  const looked: string[] = []
  for (let directory = import.meta.dirname; ; directory = dirname(directory)) {
    const path = join(directory, '.xengate/password')
    if (existsSync(path)) return readFileSync(path, 'utf8').trim()
    looked.push(path)
    if (directory === '/') break
  }
  throw new Error(
    \`there is no password: set XENGATE_PASSWORD, or start a gateway with xengate dev; looked for \${looked.join(' ')}\`,
  )
}

let gateway: Awaited<ReturnType<typeof login>>
before(async () => {
  const password = process.env.XENGATE_PASSWORD ?? foundPassword()
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
  // The gateway itself says 404, too, when no service runs.
  assert.equal(await response.text(), 'There is nothing here.\\n')
})

test('is not reached without a session', async () => {
  const response = await fetch(\`\${url}/services/plugin/%NAME%\`)
  assert.equal(response.status, 403)
  await response.body?.cancel()
})
`

export const TYPESCRIPT_MANIFEST = `{
  "name": "%PACKAGE%",
  "version": "0.1.0",
  "private": true,
  "type": "module",
  "engines": {
    "node": "^22.18.0 || >=23.6.0"
  },
  "scripts": {
    "test": "node --test service.test.ts"
  },
  "dependencies": {
    "@xengate/service": "^0.1.0"
  },
  "devDependencies": {
    "@xengate/client": "^0.1.0"
  }
}
`

export const TYPESCRIPT_README: string = `# %NAME%

A custom service in TypeScript, on \`@xengate/service\`. It needs Node.js 22.18 or later (of 23: 23.6), which runs TypeScript as it
is: nothing has to be compiled. On an older one \`node service.ts\` and \`npm test\` fail with \`Unknown file extension ".ts"\`.

## Install what it needs

\`@xengate/service\` and \`@xengate/client\` are not on npm's registry yet. Make their packages in a checkout of Xengate:

\`\`\`sh
npm pack -w @xengate/channel -w @xengate/service -w @xengate/client --pack-destination /tmp
\`\`\`

Then, in this directory:

\`\`\`sh
npm install /tmp/xengate-channel-0.1.0.tgz /tmp/xengate-service-0.1.0.tgz /tmp/xengate-client-0.1.0.tgz
\`\`\`

${tryIt('node service.ts', 'npm test')}
## Install it on a host

\`\`\`sh
mkdir -p /opt/%NAME% && cp -r package.json service.ts node_modules /opt/%NAME%/
cp %NAME%.service %NAME%.socket /etc/systemd/system/
systemctl daemon-reload && systemctl enable --now %NAME%.socket
\`\`\`

systemd listens on the sockets, and starts the service at the first request. \`journalctl -u %NAME%\` shows what it prints.
`
