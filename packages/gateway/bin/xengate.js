#!/usr/bin/env node
// The installed command. Plain JavaScript that any Node.js can parse, so that an old one gets a clear answer.
const major = Number(process.versions.node.split('.')[0])
if (major < 26) {
  process.stderr.write(`xengate needs Node.js 26 or later; this is ${process.version} (${process.execPath})\n`)
  process.exit(1)
}
await import('../dist/main.js')
