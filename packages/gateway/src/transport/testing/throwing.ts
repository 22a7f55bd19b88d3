// A process in which a listener throws: run as `throwing.ts TRANSPORT`. It says what came after that, and ends by itself.

import { connect } from 'node:net'
import { transportNamed } from './transports.ts'

let errorCount = 0
process.on('uncaughtException', (error) => {
  if (error.message !== 'thrown on purpose') throw error
  errorCount++
})

let isFirst = true
const listening = await transportNamed(process.argv[2]).listen(
  { host: '127.0.0.1', port: 0 },
  {
    accepted: (wire) => {
      wire.listener = {
        bytes: (bytes, from, to) => {
          if (isFirst) {
            isFirst = false
            throw new Error('thrown on purpose')
          }
          wire.data(bytes, from, to)
          wire.flush()
          return false
        },
        ended: () => wire.end(),
        drained: () => {},
        closed: () => {
          throw new Error('thrown on purpose')
        },
      }
    },
    failed: () => {},
  },
)

/** Says `text` until it is answered. */
function ask(text: string): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  const client = connect(listening.port, '127.0.0.1')
  let answer = ''
  client.on('data', (chunk) => {
    answer += chunk.toString()
    client.end()
  })
  client.on('close', () => resolve(answer))
  client.write(text)
  const again = setInterval(() => client.write(text), 20)
  client.once('data', () => clearInterval(again))
  return promise
}

const answers = await Promise.all([ask('a'), ask('b'), ask('c')])
listening.close()
process.on('exit', () => {
  console.log(answers.map((answer) => answer.at(0)).join(''), errorCount)
})
