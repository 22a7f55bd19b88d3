// Limits that more than one part of the library keeps.

/** Largest head, in bytes, of requests and of what the gateway answers: the most that `limits.head-bytes` of a gateway can be. */
export const HEAD_BYTES_MAX = 1_048_576
