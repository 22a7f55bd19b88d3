// What the requests of one client say again and again.

/** Longer text is not kept; session ids have 46 characters, names of services 100 at most. */
const CHARACTERS_MAX = 128

/** Keeps one string of each kind while the client repeats it: a table finds a string that it has seen without hashing it again. */
export class Repeated {
  #sessionId = ''
  #service = ''

  /** The same text. */
  sessionId(text: string): string {
    if (text === this.#sessionId) return this.#sessionId
    if (text.length <= CHARACTERS_MAX) this.#sessionId = text
    return text
  }

  /** The same text. */
  service(text: string): string {
    if (text === this.#service) return this.#service
    if (text.length <= CHARACTERS_MAX) this.#service = text
    return text
  }
}
