// Pages of the gateway's own answers, from the code: one for each, and the list of them.

import { REASONS } from '@xengate/http1'
import * as refusals from '../packages/gateway/src/proxy/heads/refusals.ts'

interface Page {
  readonly path: string
  readonly text: string
}

interface Answer {
  readonly status: number
  readonly code: string
  readonly text: string
}

/** `docs/answers.md`, and `docs/answers/<code>.md`. */
export function refusalPages(): Page[] {
  const made: Answer[] = [
    ...Object.values(refusals).filter((value) => typeof value === 'object'),
    refusals.elsewhere('https://HOST/services/plugin/NAME'),
    refusals.methodNotAllowed(['GET', 'PUT', 'POST']),
    ...(Object.keys(REASONS) as (keyof typeof REASONS)[]).map((reason) => refusals.malformed(reason)),
  ]
  // Several have the same code where they differ in words alone.
  const codes = [...new Set(made.map(({ code }) => code))].toSorted()
  const pages = codes.map((code) => pageOf(made.filter((answer) => answer.code === code)))
  const rows = codes.map((code) => {
    const { status, text } = made.find((answer) => answer.code === code) ?? { status: 0, text: '' }
    return `| [\`${code}\`](answers/${code}.md) | ${status} | ${text} |`
  })
  const text = `# Answers of the gateway's own\n\nEach has a code, in its JSON body, in \`Proxy-Status\` and in the log. [http.md](http.md#refusals) says how they are made.\n\n| code | status | text |\n| --- | --- | --- |\n${rows.join('\n')}\n`
  return [{ path: 'docs/answers.md', text }, ...pages]
}

function pageOf(answers: readonly Answer[]): Page {
  const [{ code, status } = { code: '', status: 0 }] = answers
  const texts = [...new Set(answers.map(({ text }) => text))].map((text) => `> ${text}`)
  const text = `# ${code}\n\nStatus ${status}.\n\n${texts.join('\n\n')}\n\n\`xengate explain REQUEST-ID\` prints what is known of a request; the id is in the answer's \`X-Request-Id\`. [All answers](../answers.md), [the order of checks](../http.md#what-is-answered).\n`
  return { path: `docs/answers/${code}.md`, text }
}
