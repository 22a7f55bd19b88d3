import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parse, stringify } from 'smol-toml'
import { locateKeys } from './locate.ts'

const TEXT = `# [not.a.table]
a = 1 # b = 2
"quoted.key" = "x = [1, 2]"
c.d.'e f' = """
g = 1
"""
[table]  # comment
list = [ # comment ]
  1,
  { inner = 2 }, # comment
  [ 'x]', "y" ],
]
inline = { one = 1, two.three = [ "}" ] }
[[many]]
name = "first"
[[many]]
name = '''
[no.table]
'''
other = 2026-01-01 00:00:00Z
[many.sub]
x = 1
[[many.deep]]
[[many.deep]]
y = "\\"#"
z = 0
`

test('keys are found in tables, arrays, inline tables and after strings of several lines', () => {
  parse(TEXT)
  const lineOf = locateKeys(TEXT)
  const found: readonly [path: PropertyKey[], line: number | undefined][] = [
    [['a'], 2],
    [['b'], undefined],
    [['quoted.key'], 3],
    [['c', 'd', 'e f'], 4],
    [['g'], undefined],
    [['table'], 7],
    [['table', 'list'], 8],
    [['table', 'list', 0], 9],
    [['table', 'list', 1, 'inner'], 10],
    [['table', 'list', 2, 1], 11],
    [['table', 'inline', 'two', 'three', 0], 13],
    [['many', 0, 'name'], 15],
    [['many', 1], 16],
    [['many', 1, 'name'], 17],
    [['many', 1, 'other'], 20],
    [['many', 1, 'sub', 'x'], 22],
    [['many', 1, 'deep', 1, 'y'], 25],
    [['many', 1, 'deep', 1, 'z'], 26],
    [['many', 1, 'absent', 'too'], 16],
  ]
  for (const [path, line] of found) assert.equal(lineOf(path), line, path.join('.'))
})

test('a walk ends on any text', { timeout: 30_000 }, () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom('[', ']', '{', '}', '"', "'", '=', ',', '.', '#', '\\', '\n', ' ', 'a', '1'),
        maxLength: 60,
      }),
      (text) => {
        locateKeys(text)
      },
    ),
    { numRuns: 2000 },
  )
})

test('every key of a generated document is found', { timeout: 30_000 }, () => {
  const key = fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme-ascii' }).filter((name) => name !== '__proto__')
  const table = fc.dictionary(key, fc.oneof(fc.integer(), fc.string(), fc.array(fc.string())), { maxKeys: 4 })
  const document = fc.dictionary(key, fc.oneof(table, fc.array(table, { minLength: 1, maxLength: 3 })), { maxKeys: 4 })
  fc.assert(
    fc.property(document, (content) => {
      const text = stringify(content)
      const lines = text.split('\n')
      const lineOf = locateKeys(text)
      for (const [name, value] of Object.entries(content)) {
        const tables: [PropertyKey[], object][] = Array.isArray(value)
          ? value.map((each, index) => [[name, index], each])
          : [[[name], value]]
        for (const [path, inner] of tables) {
          for (const own of Object.keys(inner)) {
            const line = lines[(lineOf([...path, own]) ?? 0) - 1]
            assert.ok(line !== undefined && Object.keys(parse(line))[0] === own, `${own} at ${line} in\n${text}`)
          }
        }
      }
    }),
    { numRuns: 300 },
  )
})
