// A service in a process of its own that takes channels at the path of its first argument, and answers the request on each at once. It
// answers while the process of the test is busy.

import net from 'node:net'
import { receiveChannel } from '@xengate/channel'

const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (control) => {
  void receiveChannel(control).then((received) => {
    control.on('error', () => {}).resume()
    if (received.kind !== 'received') return
    control.write('{"accepted":true}\n')
    const client = new net.Socket({ fd: received.clientFd, allowHalfOpen: true })
    client.on('error', () => {})
    client.on('end', () => {
      client.end()
      control.end()
    })
    client.write('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nCHANNEL')
    client.resume()
  })
})
server.listen(process.argv[2], () => process.send?.('listening'))
process.on('disconnect', () => process.exit())
