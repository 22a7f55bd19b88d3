// @xengate/http1: a strict, incremental HTTP/1.1 codec on bytes, without I/O, clocks or state beyond one message.
// One reading of every message: what is ambiguous about its length or end is refused with a reason.

export { FieldNames, FIELD, FIRST_OWN_ID } from './field-names.ts'
export { FieldLines, FIELDS_MAX } from './field-lines.ts'
export { HEAD, BODY, type BodyKind, type HeadLimits, type HeadStatus } from './head.ts'
export { RequestHead } from './request-head.ts'
export { ResponseHead } from './response-head.ts'
export { BodyDecoder, STEP, type Step } from './body-decoder.ts'
export { CHUNK_END, chunkStart, lastChunk } from './body-encoder.ts'
export { REASONS, statusOfReason, type Reason } from './reasons.ts'
