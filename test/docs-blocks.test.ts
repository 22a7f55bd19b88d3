// Every block of code on the documentation's pages is run as it stands, is checked as what it is, or is named here with the one reason why it
// cannot be. A block that is new, or begins otherwise, fails until it has its line.

import assert from 'node:assert/strict'
import { copyFileSync, globSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test, type TestContext } from 'node:test'
import { createProgram } from '../packages/gateway/src/cli/program.ts'
import { openBrowser, openPage } from './harness/browser.ts'
import { run } from './harness/child.ts'
import { until } from './harness/deadline.ts'
import { type Block, blocksOf, DevGateway, PAGES, ROOT, Terminal } from './harness/pages.ts'
import { RawClient } from './harness/raw.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'

const DEADLINE = { timeout: 110_000 }

/** What becomes of a block, whose first line is `starts`. Those of a page that run do so in their order, in one terminal. */
type Way = { readonly starts: string } & (
  | { readonly runs: (terminal: Terminal, text: string, t: TestContext) => Promise<void> }
  /** The test that reads this page, and has the block. */
  | { readonly seenBy: string }
  /** Why it is not run. Its commands and options are looked up all the same. */
  | { readonly cannot: string }
)

const HOST =
  'changes a XenServer or XCP-ng host as root; test/packaging.test.ts and test/dom0-*.test.ts do so in a tree'
const MACHINE = 'changes the machine as root; test/packaging.test.ts does so in a tree'
const SUITES = 'runs the suites, of which this is one, and takes long'
const INSTALLS = 'installs from a registry; test/newcomer.test.ts does so with all packages'

const LOGIN = 'npx xengate login http://127.0.0.1:8080 --user root --password-stdin < .xengate/password'

const linesOf = (text: string): string[] => text.trim().split('\n')

/** It starts the gateway that is there. */
const isGateway: Way & { readonly starts: string } = {
  starts: 'npm ci && npm start',
  runs: async () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: { start: string } }
    assert.equal(scripts.start, 'exec xengate dev')
  },
}

/** It is run, and prints this. */
function prints(starts: string, printed: RegExp): Way {
  return {
    starts,
    runs: async (terminal, text) => assert.match(await terminal.types(text), printed),
  }
}

/** A file that its first line names: it is saved, and run by `command`, and prints this. */
function file(name: string, command: string, printed: RegExp): Way {
  return {
    starts: `${name.endsWith('.py') ? '#' : '//'} ${name}`,
    runs: async (terminal, text) => {
      await terminal.saves(name, text)
      assert.match(await terminal.types(`${command} ${name}`), printed)
    },
  }
}

/** A service that says hello, in a file that its first line names. */
function service(name: string, command: string): Way {
  return {
    starts: `${name.endsWith('.py') ? '#' : '//'} ${name}`,
    runs: async (terminal, text) => {
      await terminal.saves(name, text)
      copyFileSync(join(ROOT, 'libraries/python/xengate_service.py'), join(terminal.cwd, 'xengate_service.py'))
      await terminal.serves(`${command} ${name} .xengate/plugin`, 'com.example.hello')
      await terminal.types(LOGIN)
      assert.match(await terminal.types('xengate get com.example.hello'), /hello root/)
    },
  }
}

/** From a sample to a daemon that serves. @param skipped lines of the block that start another gateway */
function daemon(starts: string, skipped: number): Way {
  return {
    starts,
    runs: async (terminal, text) => {
      const [sample = '', check = '', user = '', serve = ''] = linesOf(text).slice(skipped)
      await terminal.types(sample)
      // As the page says to try it elsewhere than on a host.
      const places = `-e 's|^state-dir = .*|state-dir = "state"|' -e 's|"/var/xapi/plugin"|".xengate/plugin"|'`
      await terminal.types(`sed -i ${places} -e 's|127.0.0.1:8080|127.0.0.1:0|' xengate.toml`)
      assert.match(await terminal.types(check), /valid/)
      assert.match(await terminal.answers(user, 'correct horse battery'), /added alice/)
      const started = await terminal
        .starts(serve)
        .printed(({ stdout }) => /"event":"started"/.exec(stdout)?.[0], 'the daemon')
      assert.ok(started)
    },
  }
}

/** Puts a copied body where it was, once. */
async function copies(terminal: Terminal, text: string): Promise<void> {
  assert.match(await terminal.types(text), /Hello root/)
  assert.equal(readFileSync(join(terminal.cwd, 'copy'), 'utf8'), 'what is sent\n')
  rmSync(join(terminal.cwd, 'copy'))
  rmSync(join(terminal.cwd, 'hello.txt'))
}

async function inBrowser({ gateway }: Terminal, text: string, t: TestContext): Promise<void> {
  const { page } = await openPage(await openBrowser(scopeOf(t)))
  await page.goto(`${gateway.url}/`)
  await page.getByLabel('User name').fill('root')
  await page.getByLabel('Password').fill(readFileSync(join(gateway.state, 'password'), 'utf8').trim())
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('link', { name: 'org.xengate.demo' }).waitFor()
  assert.match(await page.evaluate(`(async () => { ${text}; return response.text() })()`), /Hello root/)
}

/** Takes the client's connection, which the gateway then has as a channel. */
async function takesChannel(terminal: Terminal, text: string, t: TestContext): Promise<void> {
  const scope = scopeOf(t)
  await terminal.saves('channel.mjs', text.replace('/var/xapi/plugin', '.xengate/plugin'))
  await terminal.serves('node channel.mjs', 'com.example.hello.channel')
  await terminal.types(LOGIN)
  const session = (await terminal.types('sed -n \'s/.*"id": *"\\(OpaqueRef[^"]*\\).*/\\1/p\' config/xengate/*')).trim()
  const client = await RawClient.connect(terminal.gateway.url)
  scope.defer(() => client.destroy())
  await client.send(
    `GET /services/plugin/com.example.hello HTTP/1.1\r\nHost: h\r\nCookie: session_id=${session}\r\n\r\n`,
  )
  await until(async () => (await terminal.types('xengate connections --json')).includes('channel'), 'the channel')
}

async function inGo(terminal: Terminal, text: string, t: TestContext): Promise<void> {
  const { code } = await run(scopeOf(t), 'sh', ['-c', 'command -v go'])
  if (code !== 0) {
    t.diagnostic('go is not on this machine')
    return
  }
  await terminal.types('xengate new service com.example.hello --language go && rm com.example.hello/service*.go')
  await terminal.saves('com.example.hello/main.go', text)
  await terminal.types('cd com.example.hello && HOME=$PWD go build -o program .')
  await terminal.serves('com.example.hello/program .xengate/plugin', 'com.example.hello')
  await terminal.types(LOGIN)
  assert.match(await terminal.types('xengate get com.example.hello'), /hello root/)
}

/** The blocks of each page in their order, but for languages in `CHECKED`. */
const WAYS: Readonly<Record<string, readonly Way[]>> = {
  'README.md': [
    {
      ...isGateway,
      starts:
        'npm ci && npm start     # starts a gateway at http://127.0.0.1:8080 with a demo service and prints commands to try',
    },
    {
      starts: "python3 - <<'EOF'",
      runs: async (terminal, text) => {
        await terminal.serves(text, 'com.example.hello')
      },
    },
    prints(LOGIN, /hello root/),
    prints("python3 - <<'EOF'", /hello root/),
    { starts: 'yum install xengate --enablerepo=xengate', cannot: HOST },
    daemon('npx xengate config-schema --sample > xengate.toml    # every option, with its default', 0),
  ],
  'CONTRIBUTING.md': [
    { starts: 'npm ci          # dependencies, and a first build', cannot: SUITES },
    { starts: 'npx node -C @xengate/source --test packages/gateway/src/config/load.test.ts', cannot: SUITES },
    {
      starts: 'npm run package                                   # all of them, into dist; about a minute',
      cannot: 'test/packaging.test.ts does so',
    },
  ],
  'bench/README.md': [
    {
      starts: 'npm run bench                 # everything, five rounds: about two hours',
      cannot: 'measures for hours',
    },
  ],
  'docs/calls.md': [
    { starts: LOGIN, runs: copies },
    {
      starts:
        'session=$(curl -s http://127.0.0.1:8080/jsonrpc -d \'{"jsonrpc": "2.0", "id": 1, "method": "session.login_with_password", "params": ["root", "\'"$(cat .xengate/password)"\'"]}\' | sed \'s/.*"result":"\\([^"]*\\)".*/\\1/\')',
      runs: copies,
    },
    file('call.py', 'python3', /Hello root/),
    file('call.mjs', 'node', /Hello root/),
    { starts: "const response = await fetch('/services/plugin/org.xengate.demo')", runs: inBrowser },
  ],
  'docs/channels.md': [
    {
      starts:
        '00 00 01 e1                                        length of the offer: 481; here the descriptor is attached',
      seenBy: 'test/channel-examples.test.ts',
    },
  ],
  'docs/debian.md': [
    { starts: 'apt install ./xengate_0.1.0_amd64.deb', cannot: MACHINE },
    { starts: 'mkdir -p /var/xapi/plugin                       # where services put their sockets', cannot: MACHINE },
    { starts: 'chown root:xengate /etc/xengate/*.pem && chmod 640 /etc/xengate/*.pem', cannot: MACHINE },
    { starts: 'systemctl status xengate', cannot: MACHINE },
    { starts: 'apt install ./xengate_0.2.0_amd64.deb', cannot: MACHINE },
    { starts: 'apt remove xengate       # keeps /etc/xengate and the users in /var/lib/xengate', cannot: MACHINE },
  ],
  'docs/dom0.md': [
    {
      starts: 'xe host-call-plugin host-uuid=UUID plugin=xengate fn=status       # the host of that uuid',
      cannot: 'needs xe; test/xapi-call.test.ts calls the plugin as xapi does',
    },
    {
      starts: 'xe host-data-source-list host=NAME | grep -A3 xengate',
      cannot: 'needs xe; test/data-sources.test.ts reads them as xcp-rrdd does',
    },
  ],
  'docs/http.md': [
    {
      starts:
        'curl -s http://127.0.0.1:8080/jsonrpc -d \'{"jsonrpc": "2.0", "id": 1, "method": "session.login_with_password", "params": ["root", "…", "1.0", "my-script"]}\'',
      runs: async (terminal, text) => {
        const shown = /^# (\{.*\}):/m.exec(text)?.[1]
        const printed = await terminal.types(text.replace('"…"', `"'"$PASSWORD"'"`))
        assert.equal(printed.replace(/OpaqueRef:[\da-f-]+/, 'OpaqueRef:…'), shown)
      },
    },
  ],
  'docs/migrating.md': [
    {
      starts: '# service.py',
      runs: async (terminal, text) => {
        await terminal.saves('service.py', text)
        copyFileSync(join(ROOT, 'libraries/python/xengate_service.py'), join(terminal.cwd, 'xengate_service.py'))
      },
    },
    {
      starts: 'npx xengate dev',
      runs: async (terminal, text) => {
        const [, serve = '', call = ''] = linesOf(text)
        await terminal.serves(serve, 'smartctl.py')
        assert.match(await terminal.types(call), /\{"\/dev\/sda": "PASSED"\}/)
      },
    },
  ],
  'docs/operate.md': [
    { starts: 'git clone REPOSITORY /opt/xengate && cd /opt/xengate', cannot: MACHINE },
    {
      starts:
        "[ info||PID ||audit] ('trackid=MD5' 'subject' 'user' 'ALLOWED' 'OK' 'HTTP' 'http/put_services' (('service' 'com.example.backup' '' '') ('path' '/services/plugin/com.example.backup/1' '' '') ('status' '200' '' '') ('client' '192.0.2.7' '' '') ('request' '5f0c-1' '' '')))",
      cannot: 'is a line of the audit, which test/syslog.test.ts reads',
    },
    { starts: 'cd /opt/xengate', cannot: MACHINE },
  ],
  'docs/services.md': [
    prints(
      'npx xengate new service com.example.hello --language python     # or typescript, go, c',
      /com\.example\.hello/,
    ),
    {
      starts: 'npx xengate dev                                          # unless a gateway runs there already',
      runs: async (terminal, text) => {
        const [, serve = '', tries = ''] = linesOf(text)
        await terminal.serves(serve, 'com.example.hello')
        assert.match(await terminal.types(tries), /OK/)
      },
    },
  ],
  'docs/start.md': [
    isGateway,
    prints(LOGIN, /Hello root/),
    {
      starts: 'npx xengate new service com.example.hello --language python',
      runs: async (terminal, text) => {
        const [create = '', serve = ''] = linesOf(text)
        await terminal.types(create)
        await terminal.serves(serve, 'com.example.hello')
      },
    },
    prints('npx xengate get com.example.hello', /hello root\n[^]*OK/),
  ],
  'docs/xenserver.md': [
    {
      starts: 'curl -o /etc/pki/rpm-gpg/RPM-GPG-KEY-xengate https://example.com/xengate/RPM-GPG-KEY-xengate',
      cannot: HOST,
    },
    { starts: '/opt/xensource/debug/import-update-key RPM-GPG-KEY-xengate', cannot: HOST },
    {
      starts: 'xengate host check                   # what this host is, and what is in the way; changes nothing',
      cannot: HOST,
    },
    { starts: 'xengate front status                 # exit code 0: services are reached at port 443', cannot: HOST },
    {
      starts:
        'curl -k -b "session_id=OpaqueRef:…" -d \'{}\' https://HOST/services/plugin/org.xengate.plugins/ipmitool.py/get_all_sensors',
      cannot: HOST,
    },
    {
      starts:
        'chmod 666 /var/xapi/plugin/com.example.sensors       # after each start of the service; better, in the service itself',
      cannot: HOST,
    },
    { starts: "for address in $(xe host-list params=address --minimal | tr , ' '); do", cannot: HOST },
    {
      starts: 'xengate host save                    # before: keeps the configuration in pool.other_config',
      cannot: HOST,
    },
    {
      starts: 'yum install xengate --enablerepo=xengate     # after, with repository and key put back as in "Install"',
      cannot: HOST,
    },
    { starts: 'xengate check-config', cannot: HOST },
    { starts: "xengate front disable                # stunnel has xapi's own file again", cannot: HOST },
    { starts: 'rm /etc/systemd/system/stunnel@xapi.service.d/50-xengate-front.conf', cannot: HOST },
  ],
  'examples/unchanged/README.md': [
    {
      starts: 'gunicorn --bind unix:/var/xapi/plugin/com.example.app --umask 007 app:application',
      runs: async (terminal, text) => {
        const answer = "[start('200 OK', [('Content-Length', '5')]), b'hello'][1:]"
        await terminal.saves('app.py', `def application(environ, start): return ${answer}\n`)
        await terminal.serves(text.replace('/var/xapi/plugin', '.xengate/plugin'), 'com.example.app')
        await terminal.types(LOGIN)
        assert.match(await terminal.types('xengate get com.example.app'), /^hello/)
      },
    },
    { starts: 'npx xengate get com.example.docker/containers/json', seenBy: 'test/examples.test.ts' },
  ],
  'libraries/go/README.md': [{ starts: '// main.go', runs: inGo }],
  'libraries/python/README.md': [service('service.py', 'python3')],
  'packages/channel/README.md': [{ starts: "import { createServer } from 'node:net'", runs: takesChannel }],
  'packages/client/README.md': [
    file('call.mjs', 'node', /Hello root/),
    { starts: 'npm ci', cannot: INSTALLS },
    {
      starts: "import { mockGateway } from '@xengate/client/testing'",
      runs: async (terminal, text) => {
        const use =
          "const answer = await gateway.service('com.example.backup').put('/', 'x')\nconsole.log(await answer.text())\n"
        await terminal.saves('mock.mjs', `${text}${use}`)
        assert.match(await terminal.types('node mock.mjs'), /\{"method":"PUT"\}/)
      },
    },
  ],
  'packages/gateway/README.md': [
    daemon(
      'npx xengate dev                                              # a gateway at http://127.0.0.1:8080 with a demo service',
      1,
    ),
    { starts: 'npm ci', cannot: INSTALLS },
  ],
  'packages/http1/README.md': [
    {
      starts: "import { FieldNames, HEAD, RequestHead } from '@xengate/http1'",
      runs: async (terminal, text) => {
        await terminal.saves('parse.mjs', text)
        assert.equal(await terminal.types('node parse.mjs'), 'GET /a?b example.com\n')
      },
    },
  ],
  'packages/service/README.md': [
    service('service.js', 'node'),
    { starts: 'npm ci', cannot: INSTALLS },
    { starts: 'const app = express()', cannot: 'needs Express, which is no dependency here' },
  ],
}

/** Languages whose blocks are all checked in one way. Configurations are looked at by test/docs.test.ts. */
const CHECKED: Readonly<Record<string, (text: string, scope: Scope) => Promise<void> | void>> = {
  toml: () => {},
  json: (text) => {
    assert.ok(JSON.parse(text))
  },
  yaml: async (text, scope) => {
    // Prometheus and Ansible are not here: it is read as what it is, by Debian's Python, which has Debian's modules.
    const script = 'import sys, yaml\nassert yaml.safe_load(sys.stdin.read())'
    const { code, stderr } = await run(scope, '/usr/bin/python3', ['-c', script], { input: text })
    assert.equal(code, 0, stderr)
  },
  ini: async (text, scope) => {
    const directory = await scope.directory()
    // The program is not installed, and systemd wants to see it.
    const unit = text.replaceAll('/usr/bin/xengate', '/bin/true')
    const verify = 'cat >"$0/xengate.service" && systemd-analyze verify "$0/xengate.service"'
    const { code, stdout, stderr } = await run(scope, 'sh', ['-c', verify, directory], { input: unit })
    assert.equal(code, 0, stdout + stderr)
  },
}

const listed = (page: string): readonly Block[] =>
  blocksOf(page).filter(({ language }) => CHECKED[language] === undefined)

test('every block of code is run, or checked, or named with its reason', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  for (const page of PAGES) {
    assert.deepEqual(
      listed(page).map(({ text }) => linesOf(text)[0]),
      (WAYS[page] ?? []).map(({ starts }) => starts),
      `the blocks of ${page}`,
    )
    for (const { language, text } of blocksOf(page)) await CHECKED[language]?.(text, scope)
    for (const way of WAYS[page] ?? []) {
      if ('seenBy' in way)
        assert.ok(readFileSync(join(ROOT, way.seenBy), 'utf8').includes(page.replace('examples/', '')), way.seenBy)
      // Tests that a reason names are there.
      const named = 'cannot' in way ? way.cannot.match(/test\/[\w*-]+\.test\.ts/g) : null
      for (const path of named ?? []) assert.ok(globSync(path, { cwd: ROOT }).length > 0, path)
    }
  }
  assert.deepEqual(
    Object.keys(WAYS).filter((page) => !PAGES.includes(page)),
    [],
  )
})

type Program = ReturnType<typeof createProgram>

/** The calls of `xengate` in commands for the shell, as words. */
function callsIn(text: string): string[][] {
  const calls = text.matchAll(/(?:^|[;&|(]\s*|-- )(?:npx )?xengate((?: +[^\s;&|<>#)]+)*)/gm)
  return [...calls].map(([, words = '']) => words.trim().split(/ +/).filter(Boolean))
}

/** @throws when the command line has no such command or option */
function assertIsCommand(words: readonly string[], program: Program): void {
  let command = program
  let isValue = false
  for (const word of words) {
    if (isValue) isValue = false
    else if (word.startsWith('-')) {
      const [name = ''] = word.split('=')
      const option = [...command.options, ...program.options].find(({ short, long }) => [short, long].includes(name))
      assert.ok(option !== undefined, `xengate ${words.join(' ')}: there is no ${name}`)
      isValue = option.required && !word.includes('=')
    } else {
      const next = command.commands.find((one) => one.name() === word)
      assert.ok(next !== undefined || command.registeredArguments.length > 0, `xengate ${words.join(' ')}: ${word}`)
      command = next ?? command
    }
  }
}

test('every command on the pages is one, with its options, and every script of npm is there', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const { stdin, stdout, stderr, env } = process
  const program = createProgram({ stdin, stdout, stderr, env, cwd: ROOT, defaultConfig: '' }, () => {})
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object }
  const shell = PAGES.flatMap((page) => blocksOf(page).filter(({ language }) => language === 'sh'))
  let count = 0
  for (const { text } of shell) {
    for (const words of callsIn(text)) {
      assertIsCommand(words, program)
      count++
    }
    for (const [, script = ''] of text.matchAll(/^npm run ([\w:-]+)/gm)) assert.ok(script in scripts, script)
  }
  assert.ok(count > 40, `only ${count} commands were found`)
  assert.throws(() => assertIsCommand(['get', '--upload', 'x'], program))
  assert.throws(() => assertIsCommand(['sesions', 'list'], program))
  // What is no shell at all fails here.
  const { code, stderr: said } = await run(scope, 'sh', ['-n'], { input: shell.map(({ text }) => text).join('\n') })
  assert.equal(code, 0, said)
})

describe('what the pages say to type works', DEADLINE, () => {
  const suite = scopeOfSuite()
  let gateway: DevGateway
  before(async () => {
    gateway = await DevGateway.start(suite)
  })

  for (const [page, ways] of Object.entries(WAYS)) {
    if (!ways.some((way) => 'runs' in way)) continue
    test(page, async (t) => {
      const terminal = await Terminal.open(scopeOf(t), gateway)
      const blocks = listed(page)
      for (const [index, way] of ways.entries())
        if ('runs' in way) await way.runs(terminal, blocks[index]?.text ?? '', t)
    })
  }
})
