// @xengate/channel: passing a connected socket over a Unix stream socket, and the protocol around it (docs/channels.md).
// The gateway opens channels with it, services receive them; neither copies a byte of what goes through one.

// oxlint-disable-next-line import/no-unassigned-import -- it throws, or does nothing
import './node-version.ts'

export { CHANNEL_SUFFIX } from './contract.ts'
export {
  type ChannelOffer,
  OFFER_BYTES_MAX,
  PROTOCOL_VERSION,
  RECEIVED_BYTES_MAX,
  REPORT_INTERVAL_MS,
} from './offer.ts'
export {
  boundPath,
  closeDescriptor,
  cutConnection,
  descriptorOf,
  duplicateDescriptor,
  endConnection,
  peerUser,
  setCloseOnExec,
  setSendBuffer,
  unsentBytes,
} from './descriptor.ts'
export { openChannel, type Opened } from './open-channel.ts'
export { acceptSocket, type Accepted } from './accept-socket.ts'
export { bindSocket, type Bound, READS_BODIES_MODE } from './bind-socket.ts'
export { connectSocket, type Connected } from './connect-socket.ts'
export { DatagramSender } from './datagram.ts'
export {
  openPassage,
  passConnection,
  type Passage,
  type PassedConnection,
  PASSAGE_BYTES_MAX,
  takeConnection,
} from './passage.ts'
export { isAnswered } from './is-answered.ts'
export { ChannelReceiver, receiveChannel, type ReadOutcome, type Received } from './receive-channel.ts'
export { encodeAccepted, encodeRefused, encodeUsage, LINE_BYTES_MAX, type Report, ReportReader } from './reports.ts'
