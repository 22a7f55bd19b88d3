// A service's channel socket in a process of its own: it takes each connection and answers the request at once, on the client's connection.
import net from 'node:net'
import { receiveChannel } from '@xengate/channel'

const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
  void receiveChannel(socket).then((of) => {
    socket.resume()
    if (of.kind !== 'received') return
    socket.write('{"accepted":true}\n')
    const client = new net.Socket({ fd: of.clientFd, allowHalfOpen: true })
    client.on('error', () => {})
    client.write('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nCHANNEL')
    client.on('end', () => {
      client.end()
      socket.end()
    })
    client.resume()
  })
})
server.listen(process.argv[2], () => process.send?.('listening'))
process.on('disconnect', () => process.exit())
