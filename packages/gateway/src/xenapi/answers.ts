// Answers that are being written: a client that does not read leaves its answer in memory here.
//
// Short ones do not count, so that a login is always answered; connections bound these. Of the others an address has its share. Where
// all together are too much, the address that has most loses its oldest: that connection is cut.

import type { ServerResponse } from 'node:http'

import { addressKey } from '../sessions/address-key.ts'

/** Bytes of an answer that does not count. */
const FREE_BYTES = 4096
/** Bytes that wait for the clients of one address, and of all. */
const ADDRESS_BYTES_MAX = 4_194_304
const BYTES_MAX = 16_777_216

/** What waits for one address, oldest first. */
interface Line {
  readonly responses: Map<ServerResponse, number>
  bytes: number
}

/** See the head of this file. */
export class Answers {
  readonly #lines = new Map<string, Line>()
  #bytes = 0

  /**
   * Counts an answer until its response is closed.
   *
   * @returns whether there is room for it
   */
  add(clientAddress: string, response: ServerResponse, bytes: number): boolean {
    if (bytes <= FREE_BYTES) return true
    const key = addressKey(clientAddress) ?? ''
    const line = this.#lines.get(key) ?? { responses: new Map(), bytes: 0 }
    if (line.bytes + bytes > ADDRESS_BYTES_MAX) return false
    this.#lines.set(key, line)
    line.responses.set(response, bytes)
    line.bytes += bytes
    this.#bytes += bytes
    response.once('close', () => this.#remove(key, line, response))
    while (this.#bytes > BYTES_MAX) this.#cutOldest()
    return true
  }

  #cutOldest(): void {
    const [key, line] = [...this.#lines].reduce((most, entry) => (entry[1].bytes > most[1].bytes ? entry : most))
    for (const response of line.responses.keys()) {
      this.#remove(key, line, response)
      response.destroy()
      return
    }
  }

  #remove(key: string, line: Line, response: ServerResponse): void {
    const bytes = line.responses.get(response) ?? 0
    line.responses.delete(response)
    line.bytes -= bytes
    this.#bytes -= bytes
    if (line.responses.size === 0 && this.#lines.get(key) === line) this.#lines.delete(key)
  }
}
