// The names that the gateway goes by: a page of another name that resolves to its address (DNS rebinding) is not answered.

import { isIPv4 } from 'node:net'

/** See the head of this file. */
export class HostNames {
  readonly #names: ReadonlySet<string>
  /** Clients say the same again and again: what was asked last, and the answer. */
  #last = ''
  #isLastAllowed = true

  /** @param names in lower case; none: any name is */
  constructor(names: readonly string[]) {
    this.#names = new Set(names)
  }

  /**
   * Whether a request for this host is answered: it is one of the names, with any port, or an address, which no name can stand for.
   * @param request whose host, which is not looked at where any will do, is a valid one, undefined or empty; a browser's is there always
   */
  allows(request: { readonly host: string | undefined }): boolean {
    if (this.#names.size === 0) return true
    const { host } = request
    if (host === undefined) return true
    if (host === this.#last) return this.#isLastAllowed
    this.#last = host
    this.#isLastAllowed = this.#isOneOf(host)
    return this.#isLastAllowed
  }

  #isOneOf(host: string): boolean {
    if (host === '' || host.startsWith('[')) return true
    const [name = ''] = host.split(':')
    // A name may end with the root's dot.
    return isIPv4(name) || this.#names.has(name.toLowerCase().replace(/\.$/, ''))
  }
}
