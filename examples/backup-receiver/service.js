#!/usr/bin/env -S node --disable-sigusr1
// Takes backups, and gives them back: service.js STORE [DIRECTORY]
//
//   PUT  …/com.example.backup/<name>   the whole of it, or from an offset on with Content-Range: bytes 1048576-2097151/2097152
//   GET  …/com.example.backup/<name>   it, or a part of it with Range: bytes=0-99
//   GET  …/com.example.backup/<name>?state    {"bytes": 1048576, "complete": false}: from where to go on after a break
//
// A body goes to the disk as it comes, and none is kept in memory. What has come stays when the connection breaks, as <name>.part; when
// all is there it gets its name. Answers have its SHA-256 (RFC 9530).
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, renameSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { serve } from '@xengate/service'

const NAME = 'com.example.backup'
const PREFIX = `/services/plugin/${NAME}/`
const [store, directory = '/var/xapi/plugin'] = process.argv.slice(2)
if (store === undefined) {
  console.error('usage: service.js STORE [DIRECTORY]')
  process.exit(2)
}

/** Names under way: two who write the same file would mix it up. */
const writing = new Set()

const sizeOf = (path) => statSync(path, { throwIfNoEntry: false })?.size

function stateOf(path) {
  const whole = sizeOf(path)
  return whole === undefined
    ? { bytes: sizeOf(`${path}.part`) ?? 0, complete: false }
    : { bytes: whole, complete: true }
}

function answer(response, status, body, fields = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...fields }).end(`${JSON.stringify(body)}\n`)
}

async function digestOf(path) {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('base64')
}

/** From which byte on the body is, and how many there are in all; all is undefined where only the end of the body tells. */
function rangeOf({ headers }) {
  if (headers['content-range'] === undefined) return { from: 0, all: undefined }
  const [, from, to, all] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers['content-range']) ?? []
  return Number(from) <= Number(to) && Number(to) < Number(all) ? { from: Number(from), all: Number(all) } : null
}

async function put(path, request, response) {
  const range = rangeOf(request)
  const part = `${path}.part`
  const have = sizeOf(part) ?? 0
  if (range === null) return answer(response, 400, { error: 'Content-Range has to be "bytes FROM-TO/ALL"' })
  // A gap would be zeros that nobody sent.
  if (range.from > have) return answer(response, 416, { error: 'go on from what is here', ...stateOf(path) })
  if (range.from > 0) truncateSync(part, range.from)
  await pipeline(request, createWriteStream(part, { flags: range.from === 0 ? 'w' : 'a' }))
  const bytes = sizeOf(part)
  if (range.all !== undefined && bytes < range.all) return answer(response, 202, { bytes, complete: false })
  const digest = await digestOf(part)
  renameSync(part, path)
  answer(response, 201, { bytes, complete: true }, { 'Repr-Digest': `sha-256=:${digest}:` })
}

async function get(path, request, response) {
  const all = sizeOf(path)
  if (all === undefined) return answer(response, 404, { error: 'there is no such backup, or it is not complete' })
  const fields = { 'Content-Type': 'application/octet-stream', 'Accept-Ranges': 'bytes' }
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
  if (from === undefined) {
    fields['Repr-Digest'] = `sha-256=:${await digestOf(path)}:`
    response.writeHead(200, { ...fields, 'Content-Length': all })
    return pipeline(createReadStream(path), response)
  }
  const [start, end] = [Number(from), Math.min(to === '' ? all - 1 : Number(to), all - 1)]
  if (start > end)
    return answer(response, 416, { error: 'there is no such part' }, { 'Content-Range': `bytes */${all}` })
  response.writeHead(206, {
    ...fields,
    'Content-Range': `bytes ${start}-${end}/${all}`,
    'Content-Length': end - start + 1,
  })
  return pipeline(createReadStream(path, { start, end }), response)
}

await serve({
  name: NAME,
  directory,
  handler: async (request, response) => {
    const [target, query] = request.url.split('?')
    const name = target.startsWith(PREFIX) ? target.slice(PREFIX.length) : ''
    // No path but this one leads out of the store.
    if (!/^[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$/.test(name) || name.endsWith('.part')) {
      return answer(response, 404, { error: 'a backup has a name of letters, digits, "-", "_" and single dots' })
    }
    const path = join(store, name)
    if (request.method === 'GET') {
      return query === 'state' ? answer(response, 200, stateOf(path)) : get(path, request, response)
    }
    if (request.method !== 'PUT') return answer(response, 405, { error: 'GET and PUT' }, { Allow: 'GET, PUT' })
    if (writing.has(name)) return answer(response, 409, { error: 'somebody else is writing it' })
    writing.add(name)
    try {
      await put(path, request, response)
    } catch (error) {
      // The client has gone: what came stays.
      if (!request.readableAborted) throw error
    } finally {
      writing.delete(name)
    }
  },
})
