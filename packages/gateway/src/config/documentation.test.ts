import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parse } from 'smol-toml'
import * as z from 'zod'
import { configReference, sampleConfig } from './documentation.ts'
import { configJsonSchema, parseConfig } from './schema.ts'
import type { JsonSchema } from './json-schema.ts'
import { OPEN_POLICY } from '../model/policy.ts'

/** The sample with its commented options in force, but for those of Unix sockets; [front] among them asks for another authority. */
function sampleWithAll(): unknown {
  const text = sampleConfig().replaceAll(/^#(?=\S)(?!mode|owner|group)/gm, '')
  return parse(text.replace('authority = "embedded"', 'authority = "xapi"'))
}

/** The JSON Schema as another program would use it. */
function validator(): z.ZodType {
  return z.fromJSONSchema(JSON.parse(JSON.stringify(configJsonSchema())))
}

test('the JSON Schema accepts the sample file, with and without what is commented out', () => {
  for (const input of [parse(sampleConfig()), sampleWithAll()]) assert.equal(validator().safeParse(input).success, true)
})

test('the JSON Schema refuses an unknown key', () => {
  assert.equal(validator().safeParse({ limits: { 'head-byte': 1 } }).success, false)
})

test('the sample file is a configuration with what is commented out, too', () => {
  const parsed = parseConfig(sampleWithAll(), '/')
  assert.ok(parsed.ok)
  assert.deepEqual(parsed.config.services.policy, {
    'com.example.backup': {
      ...OPEN_POLICY,
      roles: ['pool-admin', 'pool-operator'],
      stripSession: true,
      limits: { ...parsed.config.services.limits, requests: 4 },
    },
  })
})

test('the sample file and the reference page have every option, with its description', () => {
  const [sample, page] = [sampleConfig(), configReference()]
  for (const [key, schema] of optionsOf(configJsonSchema())) {
    assert.ok(schema.description !== undefined, `${key} has a description`)
    assert.ok(page.includes(`\`${key}\``) || INLINE.has(key), `${key} is on the reference page`)
    assert.ok(key === 'channels' || key === 'policy' || sample.includes(`${key} = `) || sample.includes(`.${key}`), key)
  }
})

/** Options of a table that is written in one line; the page has them in its type. */
const INLINE = new Set(['certificate', 'key'])

function optionsOf(schema: JsonSchema): [string, JsonSchema][] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const table = inner.items ?? inner
    const nested = [
      ...optionsOf(table),
      ...(typeof table.additionalProperties === 'object' ? optionsOf(table.additionalProperties) : []),
    ]
    return nested.length > 0 && table.additionalProperties === false ? nested : [[key, inner], ...nested]
  })
}
