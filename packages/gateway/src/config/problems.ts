// What is wrong with a configuration, in words for the person who wrote it.

import type { KeyPath } from './locate.ts'
import { nearest } from './nearest.ts'
import { type ConfigIssue, configJsonSchema } from './schema.ts'
import type { JsonSchema } from './json-schema.ts'

/** Something wrong: at which key, and what. */
export interface Problem {
  readonly path: KeyPath
  /** A clause without a full stop that names the key. */
  readonly message: string
}

/**
 * Puts the schema's issues into words.
 *
 * @param input the file's content, from which the words quote.
 */
export function explainIssues(issues: readonly ConfigIssue[], input: unknown): Problem[] {
  return issues.flatMap((issue) => explainIssue(issue, input))
}

/** A key as it would be written: `services.policy."com.example.backup".roles`, `listen[0].address`. */
export function formatKey(path: KeyPath): string {
  let text = ''
  for (const name of path) {
    if (typeof name === 'number') text += `[${name}]`
    else text += (text === '' ? '' : '.') + quoteKey(String(name))
  }
  return text
}

/** A table as its header is written: `[limits]`, `[[listen]]`. */
function formatTable(path: KeyPath): string {
  return typeof path.at(-1) === 'number' ? `[[${formatKey(path.slice(0, -1))}]]` : `[${formatKey(path)}]`
}

function quoteKey(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name)
}

function explainIssue(issue: ConfigIssue, input: unknown): Problem[] {
  const { path } = issue
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey([...path, key], valueAt(input, [...path, key])))
    case 'invalid_union': {
      const inner = issue.errors.find((branch) => branch.length > 0 && branch.every((each) => each.path.length > 0))
      if (inner === undefined) return [wanted(path, issue.message, input)]
      return inner.flatMap((each) => explainIssue({ ...each, path: [...path, ...each.path] }, input))
    }
    case 'invalid_key':
      return [{ path, message: `\`${formatKey(path)}\`: ${quote(path.at(-1))} ${issue.issues[0]?.message}` }]
    case 'invalid_value':
      return [wanted(path, `must be ${choices(issue.values)}`, input)]
    case 'invalid_type':
      return [wanted(path, wantedType(issue, input), input)]
    case 'too_small':
    case 'too_big':
      return [wanted(path, bound(issue), input)]
    default:
      return [wanted(path, issue.message, input)]
  }
}

/** "`limits.head-timeout` must be …; it is …". */
function wanted(path: KeyPath, message: string, input: unknown): Problem {
  const value = valueAt(input, path)
  const key = `\`${formatKey(path)}\``
  if (value === undefined) return { path, message: `${key} is missing; it ${message}` }
  return { path, message: typeof value === 'object' ? `${key} ${message}` : `${key} ${message}; it is ${quote(value)}` }
}

function unknownKey(path: KeyPath, value: unknown): Problem {
  const name = String(path.at(-1))
  const table = path.slice(0, -1)
  const said = `unknown key \`${quoteKey(name)}\`${table.length === 0 ? '' : ` in ${formatTable(table)}`}`
  const advice = adviseNear(name, table) ?? adviseUnquoted(path, value) ?? adviseElsewhere(name)
  return { path, message: advice === undefined ? said : `${said}; ${advice}` }
}

/** `[services.policy.com.example.backup]`: the dots of a name need quotes. */
function adviseUnquoted(path: KeyPath, value: unknown): string | undefined {
  const isByName = formatKey(path.slice(0, 2)) === 'services.policy' && path.length === 4
  if (!isByName || typeof value !== 'object') return undefined
  return `the name of a service needs quotes: [services.policy.${JSON.stringify(path.slice(2).join('.'))}]`
}

function adviseNear(name: string, table: KeyPath): string | undefined {
  const near = nearest(name, Object.keys(schemaAt(table)?.properties ?? {}))
  return near === undefined ? undefined : `did you mean \`${near}\`?`
}

function adviseElsewhere(name: string): string | undefined {
  for (const [table, schema] of Object.entries(configJsonSchema().properties ?? {})) {
    const keys = (schema.items ?? schema).properties ?? {}
    if (Object.hasOwn(keys, name)) return `it belongs in ${schema.items === undefined ? `[${table}]` : `[[${table}]]`}`
  }
  return undefined
}

/** The schema of the table at `path`. */
function schemaAt(path: KeyPath): JsonSchema | undefined {
  let schema: JsonSchema | undefined = configJsonSchema()
  for (const name of path) {
    const others: JsonSchema | boolean | undefined = schema?.additionalProperties
    const known: JsonSchema | undefined = typeof name === 'number' ? schema?.items : schema?.properties?.[String(name)]
    schema = known ?? (typeof others === 'object' ? others : undefined)
  }
  return schema
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a string',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  array: 'an array',
  object: 'a table',
  record: 'a table',
}

/** The schema's own words, when it has some. */
function wantedType(issue: Extract<ConfigIssue, { code: 'invalid_type' }>, input: unknown): string {
  const value = valueAt(input, issue.path)
  const isTable = typeof value === 'object' && value !== null && !Array.isArray(value)
  // An array of tables is written with double brackets.
  if (issue.expected === 'array' && isTable && schemaAt(issue.path)?.items?.type === 'object') {
    return `may be there several times: write [[${formatKey(issue.path)}]] in place of [${formatKey(issue.path)}]`
  }
  if (issue.message.startsWith('must ')) return issue.message
  return `must be ${typeNames[issue.expected] ?? issue.expected}`
}

function bound(issue: Extract<ConfigIssue, { code: 'too_small' | 'too_big' }>): string {
  const limit = issue.code === 'too_small' ? `at least ${issue.minimum}` : `at most ${issue.maximum}`
  if (issue.origin === 'string') return `must have ${limit} characters`
  if (issue.origin === 'array') return `must have ${limit} ${limit.endsWith(' 1') ? 'value' : 'values'}`
  return `must be ${limit}`
}

function choices(values: readonly unknown[]): string {
  const quoted = values.map((value) => quote(value))
  const last = quoted.pop() ?? ''
  return quoted.length === 0 ? last : `${quoted.join(', ')} or ${last}`
}

/** A value as the file would have it, shortened, and without the user and password of a URL. */
function quote(value: unknown): string {
  const written = typeof value === 'string' ? JSON.stringify(value) : String(value)
  const text = written.replace(/\/\/.*@/, '//…@')
  return text.length <= 80 ? text : `${text.slice(0, 76)}…"`
}

function valueAt(input: unknown, path: KeyPath): unknown {
  let value = input
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<PropertyKey, unknown>)[name]
  }
  return value
}
