// The dashboard in a real browser: what a person sees and does, and what no other site can do.

import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { accessibilityProblems, openBrowser, openPage, type PageSettings } from './harness/browser.ts'
import { isAlive } from './harness/child.ts'
import { type Daemon, startDaemon, successors, USER } from './harness/daemon.ts'
import { until } from './harness/deadline.ts'
import { exchange, RawClient } from './harness/raw.ts'
import { type Scope, scopeOf, scopeOfSuite } from './harness/scope.ts'
import { listen } from './harness/services.ts'
import { startXapiWeb } from './harness/xapi-web.ts'

const DEADLINE = { timeout: 110_000 }
const NAME = 'com.example.backup'
/** As they are built, and installed. */
const FILES = join(import.meta.dirname, '../packages/gateway/dist/dashboard')
/** Pictures are kept where this says, to be looked at. */
const PICTURES = process.env['XENGATE_PICTURES']

const suite = scopeOfSuite()
let daemon: Daemon
let browser: Browser
before(async () => {
  daemon = await startDaemon(suite)
  await serve(suite)
  browser = await openBrowser(suite)
}, DEADLINE)

async function serve(scope: Scope): Promise<void> {
  const server = createServer((request, response) => {
    request.resume()
    if (request.url?.endsWith('/fails') === true) response.statusCode = 500
    response.setHeader('Content-Type', 'text/plain').end('hello from the service')
  })
  await listen(server, daemon.place.socket(NAME))
  scope.defer(() => {
    server.close()
    server.closeAllConnections()
  })
}

async function signedIn(settings: PageSettings = {}): Promise<{ readonly page: Page; readonly problems: string[] }> {
  const opened = await openPage(browser, settings)
  await opened.page.goto(daemon.url)
  await signIn(opened.page)
  return opened
}

async function signIn(page: Page): Promise<void> {
  await page.getByLabel('User name').fill(USER.name)
  await page.getByLabel('Password').fill(USER.password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: 'Overview' }).waitFor()
}

async function picture(page: Page, name: string): Promise<void> {
  if (PICTURES === undefined) return
  mkdirSync(PICTURES, { recursive: true })
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true })
}

/** What makes a page wider than its window; what is scrolled within the page does not. */
const WIDER = `document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll('body *')]
  .filter((element) => element.closest('.scroll') === null && element.getBoundingClientRect().right > innerWidth)
  .map((element) => element.outerHTML.slice(0, 200))`

/** What can be ended, and cannot be seen without scrolling. */
const HIDDEN_ENDS = `[...document.querySelectorAll('.end button')]
  .filter((element) => element.getBoundingClientRect().right > innerWidth).map((element) => element.textContent)`

const ask = (session: string, path: string): Promise<Response> =>
  fetch(`${daemon.url}/services/plugin/${path}`, { headers: { Cookie: `session_id=${session}` }, redirect: 'manual' })

test('a wrong password is told, and a right one opens the overview with what runs', DEADLINE, async () => {
  const { page, problems } = await openPage(browser)
  await page.goto(daemon.url)
  await picture(page, 'sign-in')
  await page.getByLabel('User name').fill(USER.name)
  await page.getByLabel('Password').fill('wrong')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('User name or password is wrong.').waitFor()
  await page.getByLabel('Password').fill(USER.password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('link', { name: NAME }).waitFor()
  await picture(page, 'overview')
  // No script can read the session.
  assert.equal(await page.evaluate('document.cookie'), '')
  const cookies = await page.context().cookies()
  assert.deepEqual(
    cookies.map(({ name, httpOnly, sameSite, secure }) => ({ name, httpOnly, sameSite, secure })),
    [{ name: 'session_id', httpOnly: true, sameSite: 'Strict', secure: false }],
  )
  assert.deepEqual(problems, [])
})

test('its counts are those of the load', DEADLINE, async () => {
  const session = await daemon.login()
  const { page } = await signedIn()
  const row = page.getByRole('row').filter({ has: page.getByRole('link', { name: NAME }) })
  const countsOf = async (): Promise<readonly number[]> => {
    const cells = await row.getByRole('cell').allInnerTexts()
    return [cells[2], cells[4]].map((text) => Number(text?.replaceAll(',', '')))
  }
  const [requests = 0, errors = 0] = await countsOf()
  for (let index = 0; index < 40; index++) await (await ask(session, `${NAME}/works`)).text()
  for (let index = 0; index < 3; index++) await (await ask(session, `${NAME}/fails`)).text()
  await until(async () => {
    const [now, failed] = await countsOf()
    return now === requests + 43 && failed === errors + 3 ? true : undefined
  }, 'the counts to be those of the load')
})

test("a service's page shows its refusals, and tries it", DEADLINE, async () => {
  const { page, problems } = await signedIn()
  await page.getByRole('link', { name: NAME }).click()
  await page.getByRole('heading', { name: NAME }).waitFor()
  await page.getByLabel('Path and query').fill('works?a=b')
  await page.getByRole('button', { name: 'Send' }).click()
  await page.getByText('hello from the service').waitFor()
  await picture(page, 'service')
  assert.deepEqual(problems, [])
})

test('a service that is not asked for its failures is seen, and asked again by two presses', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  let isWell = false
  const name = 'com.example.failing'
  const server = createServer((request, response) => {
    if (isWell) response.end('well')
    else request.socket.destroy()
  })
  await listen(server, daemon.place.socket(name))
  scope.defer(() => {
    server.close()
    server.closeAllConnections()
  })
  const session = await daemon.login()
  await until(async () => ((await ask(session, name)).status === 503 ? true : undefined), 'the breaker')
  isWell = true
  const { page, problems } = await signedIn()
  await page.getByRole('link', { name }).click()
  await page.getByText('its circuit breaker is open').waitFor()
  assert.deepEqual(await accessibilityProblems(page), [])
  await picture(page, 'breaker')
  await page.getByRole('button', { name: 'Close the breaker' }).click()
  await page.getByRole('button', { name: 'Really close the breaker' }).click()
  await page.getByText('its circuit breaker is open').waitFor({ state: 'detached' })
  assert.equal((await ask(session, name)).status, 200)
  assert.deepEqual(problems, [])
})

test('a session is ended by two presses, and those who end something need the token', DEADLINE, async () => {
  const session = await daemon.login()
  assert.equal((await ask(session, NAME)).status, 200)
  const { page } = await signedIn()
  await page.getByRole('link', { name: 'Sessions' }).click()
  const row = page.getByRole('row').filter({ hasText: USER.name }).first()
  await row.waitFor()
  await picture(page, 'sessions')
  const mine = (await page.context().cookies())[0]?.value ?? ''
  const { sessions } = (await (await ask(mine, 'org.xengate.control/sessions')).json()) as {
    sessions: { id: string; originator: string }[]
  }
  const others = sessions.filter(({ originator }) => originator !== 'Xengate')
  assert.ok(others.length > 0)
  const refused = await fetch(`${daemon.url}/services/plugin/org.xengate.control/sessions/${others[0]?.id}/end`, {
    method: 'POST',
    headers: { Cookie: `session_id=${mine}`, Origin: daemon.url, 'Sec-Fetch-Site': 'same-origin' },
  })
  assert.equal(refused.status, 403)
  assert.match(await refused.text(), /token/)
  await page.getByRole('searchbox').fill('Xengate')
  await page.getByRole('searchbox').fill('')
  for (const { id } of others) {
    const its = page.getByRole('row').filter({ hasText: id })
    await its.getByRole('button', { name: 'End' }).click()
    await its.getByRole('button', { name: 'Really end' }).click()
    await its.waitFor({ state: 'detached' })
  }
  await until(async () => ((await ask(session, NAME)).status === 403 ? true : undefined), 'the end of the session')
})

test('connections, refusals and events are shown as they come', DEADLINE, async () => {
  const session = await daemon.login()
  const { page, problems } = await signedIn()
  await page.getByRole('link', { name: 'Connections' }).click()
  await page.getByRole('cell', { name: '127.0.0.1' }).first().waitFor()
  await picture(page, 'connections')
  await page.getByRole('link', { name: 'Refusals' }).click()
  assert.equal((await ask(session, 'com.example.nothing/here')).status, 404)
  await page.getByRole('cell', { name: 'service-unknown' }).first().waitFor()
  const [help] = await page.getByRole('link', { name: 'service-unknown' }).all()
  assert.equal(await help?.getAttribute('href'), '/xengate/docs/answers/service-unknown.html')
  await picture(page, 'refused')
  await page.getByRole('link', { name: 'Events' }).click()
  await page.getByRole('heading', { name: 'Events' }).waitFor()
  await until(async () => {
    await ask(session, 'com.example.nothing/there')
    return (await page.getByText('/services/plugin/com.example.nothing/there').count()) > 0 ? true : undefined
  }, 'the event')
  await picture(page, 'events')
  assert.deepEqual(problems, [])
})

test('a user without the role is told so, and signed out', DEADLINE, async () => {
  await daemon.place.addUser('olga', 'olga has a password', 'read-only')
  const { page } = await openPage(browser)
  await page.goto(daemon.url)
  await page.getByLabel('User name').fill('olga')
  await page.getByLabel('Password').fill('olga has a password')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('it takes the role pool-admin').waitFor()
  assert.deepEqual(await page.context().cookies(), [])
})

test('signing out ends the session', DEADLINE, async () => {
  const { page } = await signedIn()
  const [cookie] = await page.context().cookies()
  assert.equal((await ask(cookie?.value ?? '', NAME)).status, 200)
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Password').waitFor()
  assert.deepEqual(await page.context().cookies(), [])
  assert.equal((await ask(cookie?.value ?? '', NAME)).status, 403)
})

describe('axe finds nothing wrong', () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    test(`in ${colorScheme}, wide and on a phone`, DEADLINE, async () => {
      for (const width of [1280, 390]) {
        const { page } = await signedIn({ colorScheme, width })
        await page.getByRole('link', { name: NAME }).waitFor()
        for (const [link, heading] of [
          [NAME, NAME],
          ['Sessions', 'Sessions'],
          ['Connections', 'Connections'],
          ['Refusals', 'Refusals'],
          ['Events', 'Events'],
          ['Overview', 'Overview'],
        ] as const) {
          await page.getByRole('link', { name: link, exact: true }).click()
          await page.getByRole('heading', { name: heading, exact: true, level: 1 }).waitFor()
          assert.deepEqual(await accessibilityProblems(page), [], heading)
          assert.deepEqual(await page.evaluate(WIDER), [], `${heading} fits into ${width}`)
          assert.deepEqual(await page.evaluate(HIDDEN_ENDS), [], `${heading} shows its acts in ${width}`)
          await picture(page, `${heading}-${colorScheme}-${width}`)
        }
        await picture(page, `overview-${colorScheme}-${width}`)
        await page.context().close()
      }
    })
  }
})

test('the page says that the gateway is out of service, and without it since when it is stale', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const other = await startDaemon(scope)
  const { page } = await openPage(browser)
  await page.goto(other.url)
  await signIn(page)
  assert.equal((await other.place.command(['drain'])).code, 0)
  await page.getByText('Out of service').waitFor()
  await picture(page, 'out-of-service')
  await other.stop()
  await page.getByText('Stale since').waitFor()
  await picture(page, 'stale')
  await page.context().close()
})

test('a page goes on over an upgrade, and ends what it is told to', DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const other = await startDaemon(scope)
  scope.defer(async () => {
    const pids = successors(other)
    for (const pid of pids) process.kill(pid, 'SIGTERM')
    await until(() => !pids.some(isAlive), 'the end of what took its place')
  })
  const session = await other.login()
  const { page } = await openPage(browser)
  await page.goto(other.url)
  await signIn(page)
  await page.getByRole('link', { name: 'Sessions' }).click()
  const { code, stderr } = await other.place.command(['upgrade'])
  assert.equal(code, 0, stderr)
  const its = page.getByRole('row').filter({ hasText: 'test' })
  await its.getByRole('button', { name: 'End' }).click()
  await its.getByRole('button', { name: 'Really end' }).click()
  await its.waitFor({ state: 'detached' })
  await page.context().close()
  assert.equal((await other.call('session.get_uuid', [session, session])).error?.message, 'SESSION_INVALID')
})

test("a browser without a session signs in first, and is back at the service's page", DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const other = await startDaemon(scope, { tables: '[sessions]\nsign-in-page = true\n' })
  const server = createServer((request, response) => {
    response.setHeader('Content-Type', 'text/html').end(`<h1>Page ${request.url}</h1>`)
  })
  await listen(server, other.place.socket(NAME))
  scope.defer(() => {
    server.close()
    server.closeAllConnections()
  })
  const path = `/services/plugin/${NAME}/page?a=1&b=%20`
  assert.equal((await fetch(other.url + path)).status, 403)
  const { page } = await openPage(browser)
  await page.goto(other.url + path)
  await page.getByLabel('User name').fill(USER.name)
  await page.getByLabel('Password').fill(USER.password)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: `Page ${path}` }).waitFor()
  await page.context().close()
  // Nobody is sent to another site.
  const { page: lured } = await openPage(browser)
  await lured.goto(`${other.url}/?to=${encodeURIComponent('//evil.example/services/plugin/')}`)
  await lured.getByText('with the role pool-admin').waitFor()
  await lured.context().close()
})

test(
  "as files of xapi's web server it says what to do, and works once the gateway is in front",
  DEADLINE,
  async (t) => {
    const scope = scopeOf(t)
    const www = await scope.directory()
    symlinkSync(FILES, join(www, 'xengate'))
    const xapi = await startXapiWeb(scope, www)
    const { page, problems } = await openPage(browser)
    // Without a slash, too: xapi sends the page there, and no redirect.
    for (const path of ['/xengate/', '/xengate']) {
      await page.goto(xapi.url + path)
      await page.getByText('xengate front enable').waitFor()
    }
    assert.deepEqual(await accessibilityProblems(page), [])
    await picture(page, 'absent')
    // Only that the gateway is not there was logged: xapi was asked for nothing else, and asks for no password.
    assert.ok(problems.every((problem) => problem.includes('status of 404')))

    xapi.putInFront(Number(new URL(daemon.url).port))
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByLabel('User name').fill(USER.name)
    await page.getByLabel('Password').fill(USER.password)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('link', { name: NAME }).waitFor()
    // The policy is the page's own, since no header came with it.
    assert.equal(
      await page.evaluate(`new Promise((resolve) => {
    document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => resolve(effectiveDirective))
    document.body.append(Object.assign(document.createElement('img'), { src: 'https://elsewhere.example/' }))
  })`),
      'img-src',
    )

    xapi.putInFront(null)
    await page.getByText('It is not the gateway that answers').waitFor()
    await page.reload()
    await page.getByText('xengate front enable').waitFor()
  },
)

test("the page's own policy is the gateway's, but for frames, in which it shows nothing", DEADLINE, async (t) => {
  const scope = scopeOf(t)
  const www = await scope.directory()
  symlinkSync(FILES, join(www, 'xengate'))
  const response = await fetch(daemon.url)
  const own = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(await response.text())?.[1]
  assert.equal(response.headers.get('content-security-policy'), `${own}; frame-ancestors 'none'`)

  const xapi = await startXapiWeb(scope, www)
  const { page } = await openPage(browser)
  await page.goto(xapi.url)
  await page.setContent(`<iframe src="${xapi.url}/xengate/"></iframe>`)
  const frame = page.frameLocator('iframe')
  await frame.locator('#app').waitFor({ state: 'attached' })
  await until(
    async () => ((await page.frames()[1]?.evaluate('document.readyState')) === 'complete' ? true : undefined),
    'the frame',
  )
  assert.equal(await frame.locator('#app').innerHTML(), '')
})

test('it is off by one line', DEADLINE, async (t) => {
  const other = await startDaemon(scopeOf(t), { tables: '[control]\ndashboard = false\n' })
  assert.equal((await fetch(other.url)).status, 404)
  assert.equal((await fetch(`${other.url}/xengate/`)).status, 404)
})

test('other sites can neither frame it nor give it a session', DEADLINE, async () => {
  const response = await fetch(daemon.url)
  assert.match(response.headers.get('content-security-policy') ?? '', /frame-ancestors 'none'/)
  const body = JSON.stringify({ session: 'OpaqueRef:11111111-1111-4111-8111-111111111111' })
  const given = async (headers: Record<string, string>): Promise<number> =>
    (await fetch(`${daemon.url}/xengate/session`, { method: 'POST', headers, body })).status
  assert.equal(await given({ 'Content-Type': 'text/plain' }), 403)
  assert.equal(await given({ 'Content-Type': 'application/json', 'Sec-Fetch-Site': 'cross-site' }), 403)
  assert.equal(await given({ 'Content-Type': 'application/json', 'Sec-Fetch-Site': 'same-site' }), 403)
  assert.equal(await given({ 'Content-Type': 'application/json' }), 204)
})

test(
  'the primary has no connection for a body that does not come, and sees none that is too long',
  DEADLINE,
  async (t) => {
    const own = await startDaemon(scopeOf(t))
    const countOpen = (): number => readdirSync(`/proc/${own.child.pid}/fd`).length
    const begun = 'POST /xengate/session HTTP/1.1\r\nHost: gate\r\nContent-Type: application/json\r\n'
    const first = countOpen()
    const clients = await Promise.all(Array.from({ length: 50 }, () => RawClient.connect(own.url)))
    for (const client of clients) await client.send(`${begun}Content-Length: 62\r\n\r\n{`)
    // The last is behind the others in one worker.
    const long = await exchange(own.url, `${begun}Content-Length: 65537\r\nConnection: close\r\n\r\n`)
    assert.equal(long.status, 413)
    assert.ok(countOpen() < first + clients.length / 2)
    const session = await own.login()
    const body = JSON.stringify({ session })
    const kept = await exchange(own.url, `${begun}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`)
    assert.deepEqual(
      [kept.status, kept.header('set-cookie')],
      [204, `session_id=${session}; Path=/; HttpOnly; SameSite=Strict`],
    )
    for (const client of clients) client.socket.destroy()
  },
)
