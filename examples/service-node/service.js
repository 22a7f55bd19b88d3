// A custom service in ten lines: node service.js [DIRECTORY]
import { serve } from '@xengate/service'

await serve({
  name: 'com.example.hello',
  directory: process.argv[2] ?? '/var/xapi/plugin',
  handler: (request, response) => {
    response.end(`hello ${request.xen.user}\n`)
  },
})
