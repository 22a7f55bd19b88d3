// Where a request carries its session id, by the same rules as the gateway's: the cookie `session_id`, taken as it is, or else
// the query parameter of that name, percent-decoded; of duplicates the first counts.

const NAME = 'session_id'

/** The session id in the value of a Cookie field. */
export function sessionIdInCookie(value: string): string | undefined {
  if (value.startsWith(`${NAME}=`) && !value.includes(';')) return value.slice(NAME.length + 1)
  for (const pair of value.split(';')) {
    const [name, text] = split(pair.trim())
    if (name === NAME) return text
  }
  return undefined
}

/** The session id in the query of a target. */
export function sessionIdInTarget(target: string): string | undefined {
  return parameterIn(target, NAME)
}

/** The value of the query parameter `parameter` in a target, percent-decoded. */
export function parameterIn(target: string, parameter: string): string | undefined {
  const start = target.indexOf('?')
  if (start === -1) return undefined
  for (const pair of target.slice(start + 1).split('&')) {
    const [name, text] = split(pair)
    if (percentDecoded(name) === parameter) return percentDecoded(text)
  }
  return undefined
}

/** `name=text` as its two parts; without `=` the text is empty. */
function split(pair: string): readonly [string, string] {
  const at = pair.indexOf('=')
  return at === -1 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
}

/** `text` without percent-encoding; empty when that is malformed. */
export function percentDecoded(text: string): string {
  if (!text.includes('%')) return text
  try {
    return decodeURIComponent(text)
  } catch {
    return ''
  }
}
