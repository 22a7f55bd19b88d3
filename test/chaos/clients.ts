// A process of clients: clients.ts OPTIONS, in JSON. They stop at a message, and what they have counted is answered.

import { Traffic, type TrafficOptions } from '../harness/traffic.ts'

const traffic = new Traffic(JSON.parse(process.argv[2] ?? '{}') as TrafficOptions)
process.once('message', () => {
  void traffic.stop().then((count) => {
    process.send?.({ count, troubles: traffic.troubles }, () => process.disconnect?.())
  })
})
