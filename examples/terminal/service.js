#!/usr/bin/env -S node --disable-sigusr1
// A shell of the host by WebSocket, for administrators: service.js [DIRECTORY]
//
// What the client sends is typed, what it gets is shown. `script` (util-linux) makes the terminal. Needs npm's package ws.
import { spawn } from 'node:child_process'
import { serve } from '@xengate/service'
import { WebSocketServer } from 'ws'

const NAME = 'com.example.terminal'
/** Bytes on their way to a client, past which the shell waits. */
const UNSENT_BYTES_MAX = 262_144

const sockets = new WebSocketServer({ noServer: true, maxPayload: 65_536 })

function converse(socket) {
  // A group of its own: what runs in it ends with the connection.
  const shell = spawn('script', ['-qfec', process.env.SHELL ?? '/bin/sh', '/dev/null'], {
    detached: true,
    env: { ...process.env, TERM: 'xterm-256color' },
  })
  shell.on('error', (error) => socket.close(1011, error.code))
  socket.on('message', (data) => shell.stdin.write(data))
  shell.stdin.on('error', () => {}) // it has ended, which its close tells
  const show = (data) => {
    socket.send(data, () => shell.stdout.resume())
    if (socket.bufferedAmount > UNSENT_BYTES_MAX) shell.stdout.pause()
  }
  shell.stdout.on('data', show)
  shell.stderr.on('data', show)
  shell.once('close', (code) => socket.close(1000, `the shell ended with ${code}`))
  socket.once('close', () => {
    if (shell.pid === undefined) return
    try {
      // `script` ends what runs in the terminal, and then itself.
      process.kill(-shell.pid, 'SIGTERM')
    } catch {
      // It has ended.
    }
  })
}

await serve({
  name: NAME,
  directory: process.argv[2] ?? '/var/xapi/plugin',
  handler: (request, response) => {
    response.writeHead(426, { Upgrade: 'websocket', 'Content-Type': 'text/plain' }).end('Connect by WebSocket.\n')
  },
  upgrade: (request, socket, head) => {
    // Who has a shell here can do anything: the gateway's policy may say so, too, and this says it for whoever comes another way.
    if (!request.xen.roles.includes('pool-admin')) {
      socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
      return
    }
    sockets.handleUpgrade(request, socket, head, converse)
  },
})
