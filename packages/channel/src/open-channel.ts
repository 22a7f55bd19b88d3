// The gateway's side: connects to a service's channel socket, and passes a client's connection to it in one message.
// Everything here completes at once. What it costs is the system's: socket, connect and sendmsg.

import { connectSocket } from './connect-socket.ts'
import { close, lastErrorCode, MessageHeader, MSG_NOSIGNAL, pinned, sendmsg, uninterrupted } from './libc.ts'
import { type ChannelOffer, OFFER_BYTES_MAX, offerText, RECEIVED_BYTES_MAX } from './offer.ts'

/** What became of a hand-over. */
export type Opened =
  | {
      readonly kind: 'opened'
      /** The control connection, not blocking; the caller's to close, or to wrap in a `net.Socket`. */
      readonly fd: number
      /** The end of the message, when the system did not take all of it: the caller writes it first. */
      readonly unsent: Buffer | null
    }
  | {
      readonly kind: 'failed'
      /** The error of the system: ENOENT, ECONNREFUSED, EAGAIN (the service does not keep up), EACCES, EMSGSIZE, … */
      readonly code: string
    }

const LENGTH_BYTES = 4
/** Messages up to this size are put together in memory that is made once. */
const MESSAGE_BYTES = 131_072

const send = uninterrupted(sendmsg)
const header = new MessageHeader(MESSAGE_BYTES)

/**
 * Offers the connection `clientFd` to the service that listens at `path`. The caller keeps its descriptor; whatever happens, nothing
 * is lost by it. The service's answer comes on the control connection: see `ReportReader`.
 *
 * @param clientFd the client's connection, from which nothing reads any more
 * @param received what was read from the client and not used yet, at most RECEIVED_BYTES_MAX
 */
export function openChannel(path: string, clientFd: number, offer: ChannelOffer, received: Uint8Array): Opened {
  const bytes = putMessage(offer, received, clientFd)
  if (bytes === -1) return { kind: 'failed', code: 'EMSGSIZE' }
  const connected = connectSocket(path)
  if (connected.kind === 'failed') return connected
  const { fd } = connected
  const sent = send(fd, header.bytes, MSG_NOSIGNAL)
  if (sent !== -1)
    return { kind: 'opened', fd, unsent: sent === bytes ? null : Buffer.from(message.subarray(sent, bytes)) }
  const code = lastErrorCode()
  close(fd)
  return { kind: 'failed', code }
}

/** The message that `header` points to. */
let message: Buffer = header.data

/** Puts the message together and `header` to it. Returns its size in bytes; -1 when it is over a limit. */
function putMessage(offer: ChannelOffer, received: Uint8Array, clientFd: number): number {
  const text = offerText(offer, received.length)
  // A character takes at most three bytes in UTF-8: that is enough to know in all usual cases.
  const textBytes = 3 * text.length <= OFFER_BYTES_MAX ? 0 : Buffer.byteLength(text)
  if (textBytes > OFFER_BYTES_MAX || received.length > RECEIVED_BYTES_MAX) return -1
  const bytesMax = LENGTH_BYTES + OFFER_BYTES_MAX + received.length
  message = bytesMax <= MESSAGE_BYTES ? header.data : pinned(bytesMax)
  const offerBytes = message.write(text, LENGTH_BYTES)
  message.writeUInt32BE(offerBytes, 0)
  message.set(received, LENGTH_BYTES + offerBytes)
  const bytes = LENGTH_BYTES + offerBytes + received.length
  if (message === header.data) header.setToSend(bytes, clientFd)
  else header.setToSendFrom(message.subarray(0, bytes), clientFd)
  return bytes
}
