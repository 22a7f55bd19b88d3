// A real browser without a window: Debian's Chromium.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Browser, chromium, type Page } from 'playwright-core'
import type { Scope } from './scope.ts'

const PROGRAM = '/usr/bin/chromium'
/** Longest that anything on a page is waited for, in milliseconds. */
const WAIT_MS = 20_000

/** A browser, until `scope` is over. */
export async function openBrowser(scope: Scope): Promise<Browser> {
  const browser = await chromium.launch({ executablePath: PROGRAM, args: ['--no-sandbox', '--disable-gpu'] })
  scope.defer(() => browser.close())
  return browser
}

/** What a page is opened with. */
export interface PageSettings {
  readonly width?: number
  readonly height?: number
  readonly colorScheme?: 'light' | 'dark'
}

/** A page of its own, without cookies. What its console says that is an error ends up in `problems`. */
export async function openPage(
  browser: Browser,
  { width = 1280, height = 800, colorScheme = 'light' }: PageSettings = {},
): Promise<{ readonly page: Page; readonly problems: string[] }> {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, ignoreHTTPSErrors: true })
  context.setDefaultTimeout(WAIT_MS)
  const page = await context.newPage()
  const problems: string[] = []
  page.on('console', (message) => {
    // That nobody is signed in is told by 403, which the browser logs by itself.
    if (message.type() === 'error' && !message.text().includes('status of 403')) problems.push(message.text())
  })
  page.on('pageerror', (error) => problems.push(error.message))
  return { page, problems }
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe finds wrong with a page: a rule and where, each. */
export async function accessibilityProblems(page: Page): Promise<readonly string[]> {
  // The page's policy forbids scripts of others: this one comes by the debugger.
  await page.evaluate(AXE)
  return page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      readonly axe: {
        run: () => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }>
      }
    }
    const { violations } = await axe.run()
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`))
  })
}
