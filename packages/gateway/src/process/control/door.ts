// How an answer goes out by HTTP, at either door.

import type { ServerResponse } from 'node:http'
import type { ControlAnswer } from './answers.ts'
import type { EventHub } from './events.ts'

/** How often a quiet stream of events says that it is there: a gateway cuts what is silent for a minute. */
const SIGN_MS = 15_000

/** Sends an answer. */
export function sendAnswer(response: ServerResponse, answer: ControlAnswer, events: EventHub): void {
  if (answer.kind === 'events') {
    sendEvents(response, events)
    return
  }
  const [status, type, text] =
    answer.kind === 'text'
      ? [200, answer.type, answer.text]
      : [answer.status, 'application/json', `${JSON.stringify(answer.body)}\n`]
  response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(text)
}

function sendEvents(response: ServerResponse, events: EventHub): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  if (response.req.method === 'HEAD') {
    response.end()
    return
  }
  response.write(': the events of the log, as they come\n\n')
  const listener = events.listen(
    (line) => response.write(`data: ${line}\n\n`),
    () => response.end(),
  )
  const timer = setInterval(() => response.write(':\n\n'), SIGN_MS).unref()
  response.on('drain', () => listener.drained())
  response.once('close', () => {
    clearInterval(timer)
    listener.end()
  })
}
