// Pages of the gateway's own answers, from the code: one for each, one for each reason that only the log tells, and the lists of them.

import { REASONS } from '@xengate/http1'
import { END_REASONS, type ReasonName } from '../packages/gateway/src/model/reasons.ts'
import * as refusals from '../packages/gateway/src/proxy/heads/refusals.ts'
import { HELP } from './docs-help.ts'

interface Page {
  readonly path: string
  readonly text: string
}

interface Answer {
  readonly status: number
  readonly code: string
  readonly text: string
  readonly reason: string
}

/** `docs/answers.md`, and `docs/answers/<code>.md`. */
export function refusalPages(): Page[] {
  const made: Answer[] = [
    ...Object.values(refusals).filter((value) => typeof value === 'object'),
    refusals.elsewhere('https://HOST/services/plugin/NAME'),
    refusals.methodNotAllowed(['GET', 'PUT', 'POST']),
    refusals.signInFirst('/'),
    {
      ...refusals.responseInvalid('bare-lf'),
      text: 'The service did not answer valid HTTP/1.1: the text says what is wrong.',
    },
    ...(Object.keys(REASONS) as (keyof typeof REASONS)[]).map((reason) => refusals.malformed(reason)),
  ]
  // Several have the same code where they differ in words alone.
  const codes = [...new Set(made.map(({ code }) => code))].toSorted()
  const pages = codes.map((code) => pageOf(made.filter((answer) => answer.code === code)))
  const rows = codes.map((code) => {
    const { status, text } = made.find((answer) => answer.code === code) ?? { status: 0, text: '' }
    return `| [\`${code}\`](answers/${code}.md) | ${status} | ${text} |`
  })
  const reasons = Object.keys(END_REASONS)
    .filter((reason) => !codes.includes(reason))
    .toSorted()
  const told = reasons.map((reason) => reasonPage(reason, made.find((answer) => answer.reason === reason)?.code))
  const list = reasons.map((reason) => `[\`${reason}\`](answers/${reason}.md)`)
  const text = `# The gateway's own answers\n\nEach has a code, in its JSON body, in \`Proxy-Status\` and in the log. See [HTTP](http.md#refusals) for their format.\n\n| code | status | text |\n| --- | --- | --- |\n${rows.join('\n')}\n\nThese reasons are only in the log, the metrics and the dashboard: ${list.join(', ')}.\n`
  return [{ path: 'docs/answers.md', text }, ...pages, ...told]
}

function pageOf(answers: readonly Answer[]): Page {
  const [{ code } = { code: '' }] = answers
  const status = [...new Set(answers.map((answer) => answer.status))].join(', or ')
  const texts = [...new Set(answers.map(({ text }) => text))].map((text) => `> ${text}`)
  const text = `# ${code}\n\nStatus ${status}.\n\n${texts.join('\n\n')}\n\n${helpOf(code)}\`npx xengate explain ID\` prints what is known of a request; the id is in the answer's \`X-Request-Id\`. Where a package is installed, the command is \`xengate\`, without \`npx\`. [All answers](../answers.md), [the order of checks](../http.md#what-is-answered).\n`
  return { path: `docs/answers/${code}.md`, text }
}

/** @param code by which clients are told of it, if they are */
function reasonPage(reason: string, code: string | undefined): Page {
  const { by, phase, text } = END_REASONS[reason as keyof typeof END_REASONS]
  const clients =
    code === undefined ? 'Clients are not told of it.' : `Clients are told of it as [\`${code}\`](${code}.md).`
  return {
    path: `docs/answers/${reason}.md`,
    text: `# ${reason}\n\nA reason in the log, the metrics and the dashboard: ${text} (by the ${by}, phase ${phase}). ${clients}\n\n${helpOf(reason)}\`npx xengate explain ID\` prints what is known of a request. [All answers](../answers.md), [all reasons](../operations.md).\n`,
  }
}

function helpOf(name: string): string {
  const help = HELP[name as ReasonName]
  return help === undefined ? '' : `${help}\n\n`
}
