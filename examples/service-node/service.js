#!/usr/bin/env -S node --disable-sigusr1
// A custom service in Node.js: service.js [DIRECTORY]
import { serve } from '@xengate/service'

// SIGUSR1 opens Node.js's debugger to every local user, unless the line at the top or this one keeps it from that. SIGUSR2 ends
// a process that does not listen for it. Tools send both by habit; here they do nothing.
for (const signal of ['SIGUSR1', 'SIGUSR2']) process.on(signal, () => {})

await serve({
  name: 'com.example.hello',
  directory: process.argv[2] ?? '/var/xapi/plugin',
  handler: (request, response) => {
    response.end(`hello ${request.xen.user}\n`)
  },
})
