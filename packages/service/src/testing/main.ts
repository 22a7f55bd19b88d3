// A service as a process of its own: main.ts DIRECTORY. `/never` begins an answer and does not end it.

import { serve } from '../serve.ts'
import { SERVICE_NAME } from './gateway.ts'

await serve({
  name: SERVICE_NAME,
  directory: process.argv[2] ?? '',
  handler: (request, response) => {
    if (request.url?.endsWith('/never') === true) response.write('begun')
    else response.end(request.xen.user)
  },
})
process.stdout.write(`${process.env['LISTEN_FDS'] === undefined ? 'LISTEN_FDS is unset, ' : ''}ready\n`)
