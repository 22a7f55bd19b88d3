// A process that connects to the Unix socket of its argument and talks and reads until it is killed.

import { connect } from 'node:net'

const socket = connect(process.argv[2] ?? '')
socket.on('data', () => socket.write('x'.repeat(10_000)))
socket.write('hello')
