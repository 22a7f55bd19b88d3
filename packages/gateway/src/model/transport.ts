// How connections may be had: by Node.js, or by io_uring.

/** What a configuration can ask for. */
export const TRANSPORTS = ['auto', 'net', 'ring'] as const
export type TransportWanted = (typeof TRANSPORTS)[number]
