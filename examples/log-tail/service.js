#!/usr/bin/env -S node --disable-sigusr1
// Shows a log as it grows, with a page: service.js FILE [DIRECTORY]
//
//   GET …/com.example.log            the page
//   GET …/com.example.log/lines      server-sent events: the last lines, and each that comes
import { createHash } from 'node:crypto'
import { open, watch } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { serve } from '@xengate/service'

const NAME = 'com.example.log'
/** How often a page hears that a quiet log is there: a gateway cuts an answer that is silent for a minute. */
const SIGN_MS = 15_000
/** How much of the file is shown at first, and read at a time. */
const READ_BYTES = 65_536
const [file, directory = '/var/xapi/plugin'] = process.argv.slice(2)
if (file === undefined) {
  console.error('usage: service.js FILE [DIRECTORY]')
  process.exit(2)
}

// The page takes nothing from elsewhere, and writes lines as text: a log has what others put into it.
const SCRIPT = `
const list = document.querySelector('pre')
const state = document.querySelector('output')
const source = new EventSource('${NAME}/lines')
source.onopen = () => { list.textContent = ''; state.textContent = 'live' }
source.onerror = () => { state.textContent = 'stale: connecting again' }
source.onmessage = ({ data }) => {
  const isAtEnd = innerHeight + scrollY >= document.body.scrollHeight - 8
  list.append(JSON.parse(data) + '\\n')
  if (isAtEnd) scrollTo(0, document.body.scrollHeight)
}`
const STYLE =
  ':root { color-scheme: light dark } pre { white-space: pre-wrap; overflow-wrap: anywhere } header { position: sticky; top: 0; background: Canvas }'
const hashed = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
const POLICY = `default-src 'none'; connect-src 'self'; style-src ${hashed(STYLE)}; script-src ${hashed(SCRIPT)}; frame-ancestors 'none'`
const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${basename(file)}</title>
<style>${STYLE}</style>
<header><h1>${basename(file)}</h1><p><output role="status">connecting</output></header>
<main><pre tabindex="0" aria-label="Lines"></pre></main>
<script>${SCRIPT}</script>
</html>
`

/** The lines of the file from near its end on, until `signal` is aborted. A file that is replaced or emptied is read from its start. */
async function* lines(signal) {
  // Watched before it is read, so that nothing comes in between.
  const changes = watch(dirname(file), { signal })
  let at = null
  let id = null
  let rest = ''
  const read = async function* () {
    const handle = await open(file).catch(() => null)
    if (handle === null) return
    try {
      const { size, ino } = await handle.stat()
      if (at === null) at = Math.max(0, size - READ_BYTES)
      else if (ino !== id || size < at) at = 0
      id = ino
      while (at < size) {
        const { buffer, bytesRead } = await handle.read(
          Buffer.alloc(READ_BYTES),
          0,
          Math.min(READ_BYTES, size - at),
          at,
        )
        if (bytesRead === 0) return
        at += bytesRead
        const found = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n')
        rest = found.pop()
        for (const line of found) yield Buffer.from(line, 'latin1').toString('utf8')
      }
    } finally {
      await handle.close()
    }
  }
  yield* read()
  try {
    for await (const { filename } of changes) if (filename === basename(file)) yield* read()
  } catch (error) {
    if (error.name !== 'AbortError') throw error
  }
}

async function follow(response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  response.flushHeaders()
  const leaving = new AbortController()
  const timer = setInterval(() => response.write(':\n\n'), SIGN_MS)
  response.once('close', () => {
    clearInterval(timer)
    leaving.abort()
  })
  for await (const line of lines(leaving.signal)) {
    // Who reads slowly is waited for, and loses nothing.
    if (!response.write(`data: ${JSON.stringify(line)}\n\n`)) {
      await Promise.race([
        new Promise((resolve) => response.once('drain', resolve)),
        new Promise((resolve) => response.once('close', resolve)),
      ])
    }
  }
  response.end()
}

await serve({
  name: NAME,
  directory,
  // Streams have no end of their own.
  drainTimeoutMs: 1000,
  handler: (request, response) => {
    const path = request.url.split('?')[0].slice(`/services/plugin/${NAME}`.length)
    if (path === '/lines') return follow(response)
    if (path !== '') return response.writeHead(404).end('There is nothing here.\n')
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': POLICY })
    response.end(PAGE)
  },
})
