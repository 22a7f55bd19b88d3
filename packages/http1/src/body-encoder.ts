// The chunked coding, as written (RFC 9112 section 7.1). The other framings need no bytes of their own.

/** What goes before the data of a chunk of `bytes` bytes; `CHUNK_END` goes behind it. */
export function chunkStart(bytes: number): string {
  return `${bytes.toString(16)}\r\n`
}

/** What goes behind the data of each chunk. */
export const CHUNK_END = '\r\n'

/** The last chunk with the trailer section, whose lines each end in CRLF. */
export function lastChunk(trailers: string): string {
  return `0\r\n${trailers}\r\n`
}
