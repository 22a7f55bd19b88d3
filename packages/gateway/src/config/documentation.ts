// The sample file and the reference page, made from the schema that also checks the file.

import { stringify } from 'smol-toml'
import { configJsonSchema } from './schema.ts'
import type { JsonSchema } from './json-schema.ts'

/**
 * A configuration file with every option at its default and its description beside it. Options that have no default are
 * commented out with `#`, without a space: taking the `#` away gives a valid line.
 */
export function sampleConfig(): string {
  const lines = ['# Xengate configuration. Everything here is the default: keep what you change.']
  for (const [key, schema] of scalarsOf(configJsonSchema())) lines.push('', ...sampleOption(key, schema))
  for (const [name, schema] of tablesOf(configJsonSchema())) lines.push('', ...sampleTable(name, schema))
  return `${lines.join('\n')}\n`
}

/** The reference page of the configuration, in Markdown: a table for each table of the file. */
export function configReference(): string {
  const root = configJsonSchema()
  const top: JsonSchema = { properties: Object.fromEntries(scalarsOf(root)) }
  const lines = [
    '# Configuration',
    '',
    'A TOML file. Relative paths are relative to it. Durations: `ms`, `s`, `m`, `h`.',
  ]
  lines.push('', '## Top of the file', '', ...referenceTable(top))
  for (const [name, schema] of tablesOf(root)) {
    const heading = schema.items === undefined ? `[${name}]` : `[[${name}]]`
    lines.push('', `## \`${heading}\``, '', sentence(schema.description), '', ...referenceTable(schema.items ?? schema))
    for (const [key, option] of Object.entries(schema.properties ?? {})) {
      const inner = option.additionalProperties
      if (typeof inner !== 'object' || inner.properties === undefined) continue
      lines.push(
        '',
        `## \`[${name}.${key}."<service>"]\``,
        '',
        sentence(option.description),
        '',
        ...referenceTable(inner),
      )
    }
  }
  return `${lines.join('\n')}\n`
}

type Named = [name: string, schema: JsonSchema]

function scalarsOf(root: JsonSchema): Named[] {
  return Object.entries(root.properties ?? {}).filter(([, schema]) => !isTable(schema))
}

/** Tables, each followed by those within it. */
function tablesOf(root: JsonSchema): Named[] {
  const tables = Object.entries(root.properties ?? {}).filter(([, schema]) => isTable(schema))
  return tables.flatMap(([name, schema]): Named[] => [
    [name, schema],
    ...Object.entries(schema.properties ?? {})
      .filter(([, inner]) => isInnerTable(inner))
      .map(([key, inner]): Named => [`${name}.${key}`, inner]),
  ])
}

function isTable(schema: JsonSchema): boolean {
  return schema.type === 'object' || schema.items?.type === 'object'
}

/** A table with options of its own, unlike one with an entry for each service, or one that is written in one line (those have a title). */
function isInnerTable(schema: JsonSchema): boolean {
  return schema.type === 'object' && schema.properties !== undefined && schema.title === undefined
}

/** The options of a table that stand in it, and not in a table of their own. */
function optionsIn(table: JsonSchema): Named[] {
  return Object.entries(table.properties ?? {}).filter(([, schema]) => !isInnerTable(schema))
}

function sampleTable(name: string, schema: JsonSchema): string[] {
  const lines = [`# ${schema.description}`, schema.items === undefined ? `[${name}]` : `[[${name}]]`]
  const nested: string[] = []
  const table = schema.items ?? schema
  for (const [key, option] of optionsIn(table)) {
    const isRequired = table.required?.includes(key) === true
    if (option.additionalProperties === undefined) lines.push(...sampleOption(key, option, isRequired))
    else nested.push('', ...sampleNested(name, key, option))
  }
  return isLeftOut(schema) ? [...lines, ...nested].map(commentedOut) : [...lines, ...nested]
}

/** A table whose being there means something, so that the sample does not have it in force. */
function isLeftOut(schema: JsonSchema): boolean {
  return schema.type === 'object' && schema.default === undefined
}

function commentedOut(line: string): string {
  return line === '' || line.startsWith('#') ? line : `#${line}`
}

/** @param isRequired what the sample shows of an option that has no default is then in force */
function sampleOption(key: string, schema: JsonSchema, isRequired = false): string[] {
  const isDefault = schema.default !== undefined
  const value = isDefault ? schema.default : schema.examples?.[0]
  const isShown = isDefault || isRequired
  return [`# ${schema.description}`, `${isShown ? '' : '#'}${inOneLine(key, value)}`]
}

/** `key = value`, where a table is written inline. */
function inOneLine(key: string, value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return stringify({ [key]: value }).trimEnd()
  return `${key} = { ${Object.entries(value)
    .map(([name, inner]) => inOneLine(name, inner))
    .join(', ')} }`
}

function sampleNested(table: string, key: string, schema: JsonSchema): string[] {
  const text = stringify({ [table]: { [key]: schema.examples?.[0] } })
  const lines = text.split('\n').filter((line) => line !== '')
  const inner = typeof schema.additionalProperties === 'object' ? schema.additionalProperties.properties : undefined
  const described = lines.flatMap((line) => {
    const description = inner?.[line.split(' = ')[0] ?? '']?.description
    return description === undefined ? [`#${line}`] : [`# ${description}`, `#${line}`]
  })
  return [`# ${schema.description}`, ...described]
}

function referenceTable(table: JsonSchema): string[] {
  const rows = optionsIn(table).map(([key, schema]) => {
    const fallback = table.required?.includes(key) === true ? 'required' : inToml(schema.default)
    return `| \`${key}\` | ${typeOf(schema)} | ${fallback} | ${schema.description} |`
  })
  return ['| option | value | default | |', '| --- | --- | --- | --- |', ...rows]
}

function inToml(value: unknown): string {
  if (value === undefined || (typeof value === 'object' && value !== null && Object.keys(value).length === 0)) return ''
  return `\`${stringify({ value })
    .trimEnd()
    .replace(/^value = /, '')}\``
}

function typeOf(schema: JsonSchema): string {
  if (schema.title !== undefined) return schema.title
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${JSON.stringify(value)}\``).join(', ')
  if (schema.anyOf !== undefined) return schema.anyOf.map((each) => typeOf(each)).join(' or ')
  if (schema.items !== undefined) return `array of ${plural(typeOf(schema.items))}`
  if (schema.type === 'integer') return `${schema.minimum} to ${schema.maximum}`
  if (typeof schema.additionalProperties === 'object') return `table of ${plural(typeOf(schema.additionalProperties))}`
  if (schema.pattern?.includes('ms|s|m|h') === true) return 'duration'
  return schema.type === 'object' ? 'table' : String(schema.type)
}

/** `array of roles` as the plural of `array of …` too. */
function plural(noun: string): string {
  return noun.startsWith('array of ') ? noun.replace(/^array/, 'arrays') : `${noun}s`
}

function sentence(clause: string | undefined): string {
  return clause === undefined ? '' : `${clause.charAt(0).toUpperCase()}${clause.slice(1)}.`
}
