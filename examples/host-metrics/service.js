#!/usr/bin/env -S node --disable-sigusr1
// What the host is doing, once or as it goes on: service.js [DIRECTORY]
//
//   GET /services/plugin/com.example.metrics           the numbers now, as JSON
//   GET /services/plugin/com.example.metrics/text      the same for Prometheus
//   GET /services/plugin/com.example.metrics/stream    server-sent events: the numbers each second
import { readFileSync } from 'node:fs'
import { cpus, freemem, loadavg, totalmem, uptime } from 'node:os'
import { serve } from '@xengate/service'

const NAME = 'com.example.metrics'
const INTERVAL_MS = 1000

function numbers() {
  const [load] = loadavg()
  const times = cpus().map(({ times: { user, nice, sys, idle, irq } }) => ({
    idle,
    all: user + nice + sys + idle + irq,
  }))
  const sum = (key) => times.reduce((total, cpu) => total + cpu[key], 0)
  // Of all network devices but the loopback: bytes received and sent.
  const devices = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .slice(2)
    .map((line) => line.trim().split(/[\s:]+/))
    .filter(([device]) => device !== '' && device !== 'lo')
  return {
    uptime_seconds: uptime(),
    load: load,
    cpu_seconds_total: sum('all') / 1000,
    cpu_idle_seconds_total: sum('idle') / 1000,
    memory_bytes: totalmem(),
    memory_free_bytes: freemem(),
    network_received_bytes_total: devices.reduce((total, fields) => total + Number(fields[1]), 0),
    network_sent_bytes_total: devices.reduce((total, fields) => total + Number(fields[9]), 0),
  }
}

function stream(request, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  const tell = () => response.write(`data: ${JSON.stringify(numbers())}\n\n`)
  tell()
  const timer = setInterval(tell, INTERVAL_MS)
  response.once('close', () => clearInterval(timer))
}

await serve({
  name: NAME,
  directory: process.argv[2] ?? '/var/xapi/plugin',
  // Streams have no end of their own.
  drainTimeoutMs: 1000,
  handler: (request, response) => {
    const path = request.url.split('?')[0].slice(`/services/plugin/${NAME}`.length)
    if (request.method !== 'GET') return response.writeHead(405, { Allow: 'GET' }).end()
    if (path === '/stream') return stream(request, response)
    if (path === '/text') {
      response.setHeader('Content-Type', 'text/plain; version=0.0.4')
      return response.end(
        Object.entries(numbers())
          .map(([name, value]) => `host_${name} ${value}\n`)
          .join(''),
      )
    }
    if (path !== '' && path !== '/') return response.writeHead(404).end('There are /, /text and /stream.\n')
    response.setHeader('Content-Type', 'application/json')
    response.end(`${JSON.stringify(numbers())}\n`)
  },
})
