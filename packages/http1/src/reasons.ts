// Why a message is refused: the codec's one catalogue of reasons.

/** Each reason with the sentence that explains it. */
export const REASONS = {
  'bare-cr': 'a CR is not followed by LF',
  'bare-lf': 'a line ends in LF without CR',
  'body-truncated': 'the connection ended before the body was complete',
  'chunk-end-invalid': 'a chunk is not followed by CRLF',
  'chunk-extension-invalid': 'a chunk extension is not a name with an optional value, token or quoted string',
  'chunk-extension-too-long': 'chunk extensions are longer than the limit',
  'chunk-size-invalid': 'a chunk size is not plain hexadecimal digits within 2^53',
  'connection-option-invalid': 'Connection names Content-Length, Host or Transfer-Encoding, which it must not',
  'content-length-invalid': 'Content-Length is not one run of digits within 2^53',
  'content-length-repeated': 'Content-Length appears more than once',
  'expectation-unknown': 'Expect is something other than a single "100-continue"',
  'field-name-invalid': 'a field name is empty or holds a character that is not allowed',
  'field-value-invalid': 'a field value holds a control character',
  'fields-too-many': 'the head has more fields than the limit',
  'framing-ambiguous': 'both Content-Length and Transfer-Encoding are present',
  'head-too-large': 'the head is larger than the limit',
  'head-truncated': 'the connection ended before the head was complete',
  'host-invalid': 'Host, or the authority of the target, is not a host and an optional port from 0 to 65535',
  'host-missing': 'an HTTP/1.1 request without Host',
  'host-repeated': 'Host appears more than once',
  'method-invalid': 'the method is not a token of at most 32 characters',
  'obs-fold': 'a field line is folded or starts with white space',
  'space-before-colon': 'there is white space between a field name and the colon',
  'start-line-invalid': 'the start line is not of the form that HTTP/1.1 requires',
  'status-invalid': 'the status code is not three digits from 100 to 599',
  'target-invalid': 'the request target is malformed',
  'target-too-long': 'the request target is longer than the limit',
  'transfer-encoding-in-1.0': 'an HTTP/1.0 message has Transfer-Encoding',
  'transfer-encoding-invalid': 'Transfer-Encoding is something other than a single "chunked"',
  'version-unsupported': 'the HTTP version is neither 1.0 nor 1.1',
} as const

/** Why a message is refused. */
export type Reason = keyof typeof REASONS

/** Status code with which a server refuses a request for `reason` (RFC 9110 section 15.5, RFC 6585 section 5). */
export function statusOfReason(reason: Reason): 400 | 414 | 417 | 431 | 505 {
  switch (reason) {
    case 'target-too-long':
      return 414
    case 'expectation-unknown':
      return 417
    case 'head-too-large':
    case 'fields-too-many':
      return 431
    case 'version-unsupported':
      return 505
    default:
      return 400
  }
}
