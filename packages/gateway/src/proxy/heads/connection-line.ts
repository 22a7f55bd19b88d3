/** The Connection line, with its CRLF, that tells a client of HTTP/1.`minorVersion` whether its connection stays open. */
export function connectionLine(keeps: boolean, minorVersion: number): string {
  if (!keeps) return 'Connection: close\r\n'
  return minorVersion === 0 ? 'Connection: keep-alive\r\n' : ''
}
