// Entry of the demo service's process: demo-main.ts SOCKET. It tells its parent when it listens, and ends with it.

import { createDemoService } from './service.ts'

const server = createDemoService()
// Signals often go to the whole group of processes; the gateway finishes what is under way before it lets go.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {})
process.once('disconnect', () => {
  server.close()
  server.closeAllConnections()
})
server.listen(process.argv[2], () => process.send?.('ready'))
