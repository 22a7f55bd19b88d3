// xapi's port for plain HTTP: what comes is passed to the stand-in's socket, argv[2], without the PROXY line, which is printed.

import { connect, createServer } from 'node:net'

const [, , socketPath = ''] = process.argv
const server = createServer((client) => {
  const xapi = connect(socketPath)
  client.on('error', () => xapi.destroy()).once('close', () => xapi.destroy())
  xapi.on('error', () => client.destroy()).pipe(client)
  let head = Buffer.alloc(0)
  client.on('data', function first(bytes: Buffer) {
    head = Buffer.concat([head, bytes])
    const end = head.indexOf('\r\n')
    if (end === -1) return
    client.off('data', first)
    process.stdout.write(`${head.subarray(0, end).toString()}\n`)
    xapi.write(head.subarray(end + 2))
    client.pipe(xapi)
  })
})
server.listen(80, '127.0.0.1', () => process.stdout.write('listening\n'))
