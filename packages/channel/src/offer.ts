// What the gateway offers with a connection: the JSON at the head of the first message, and its limits.

/** The version of the protocol that is spoken here. */
export const PROTOCOL_VERSION = 1

/** Most bytes of JSON in an offer. */
export const OFFER_BYTES_MAX = 65_536

/** Most bytes already read from the client that come with an offer. */
export const RECEIVED_BYTES_MAX = 1_048_576

/** Within how many milliseconds a service tells of activity on a channel. */
export const REPORT_INTERVAL_MS = 10_000

/** An offer of a channel, as the gateway makes it. */
export interface ChannelOffer {
  /** Names the channel in logs. */
  readonly channel: string
  /** The well-known name of the service. */
  readonly service: string
  /** Who the caller is. */
  readonly session: {
    /** The session id that the client presented; secret. */
    readonly id: string
    readonly user: string
    readonly subject: string
    /** From the highest. */
    readonly roles: readonly string[]
    readonly originator: string
  }
  /** The methods that this session may use at this service. */
  readonly methods: readonly string[]
  /** Where the client's connection comes from; the address is empty and the port 0 when it is a Unix socket. */
  readonly client: { readonly address: string; readonly port: number }
  /** Whether the client came by HTTPS, which a TLS proxy in front has ended. */
  readonly proto: 'http' | 'https'
  /** Path of a Unix socket where the gateway takes what a channel must not answer. */
  readonly gateway: string
  /** What to write first on each connection to that socket, by which the gateway knows whose it is; empty when it has no need of it. */
  readonly greeting: string
}

/** An offer's JSON. @param received how many bytes that were read from the client follow it */
export function offerText(offer: ChannelOffer, received: number): string {
  const { channel, service, session, methods, client, proto, gateway, greeting } = offer
  const version = PROTOCOL_VERSION
  return JSON.stringify({ version, channel, service, session, methods, client, proto, received, gateway, greeting })
}

/** What an offer's JSON says, or why it cannot be taken. */
export type DecodedOffer =
  | { readonly kind: 'offer'; readonly offer: ChannelOffer; readonly received: number }
  | { readonly kind: 'invalid'; readonly why: string }

/** Reads an offer. Names that are not known are ignored: a later gateway may say more. */
export function decodeOffer(json: Uint8Array): DecodedOffer {
  const value = parsed(json)
  if (!isRecord(value)) return invalid('the offer is not a JSON object in UTF-8')
  const { version } = value
  if (version !== PROTOCOL_VERSION) {
    return invalid(`this side speaks version ${PROTOCOL_VERSION} of the channel protocol, not ${shown(version)}`)
  }
  const wrong = wrongField(value)
  if (wrong !== undefined) return invalid(`"${wrong}" of the offer is missing or of the wrong type`)
  const received = value['received'] as number
  if (received > RECEIVED_BYTES_MAX) {
    return invalid(`the offer comes with ${received} bytes, and ${RECEIVED_BYTES_MAX} are the most`)
  }
  // `wrongField` has looked at every field. The first gateways said nothing of the two that come first here.
  return { kind: 'offer', offer: { proto: 'http', greeting: '', ...value } as unknown as ChannelOffer, received }
}

function invalid(why: string): DecodedOffer {
  return { kind: 'invalid', why }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true })

function parsed(json: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(json))
  } catch {
    return undefined
  }
}

type Check = (value: unknown) => boolean

/** Every field, and what it has to be. */
const FIELDS: Readonly<Record<string, Check>> = {
  channel: isText,
  service: isText,
  session: isRecord,
  'session.id': isText,
  'session.user': isString,
  'session.subject': isString,
  'session.roles': isStringList,
  'session.originator': isString,
  methods: isStringList,
  client: isRecord,
  'client.address': isString,
  'client.port': isPort,
  proto: (value) => value === undefined || value === 'http' || value === 'https',
  received: isCount,
  gateway: isText,
  greeting: (value) => value === undefined || isString(value),
}

function wrongField(offer: Readonly<Record<string, unknown>>): string | undefined {
  return Object.keys(FIELDS).find((path) => FIELDS[path]?.(valueAt(offer, path)) !== true)
}

function valueAt(offer: Readonly<Record<string, unknown>>, path: string): unknown {
  let value: unknown = offer
  for (const name of path.split('.')) value = isRecord(value) ? value[name] : undefined
  return value
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function isText(value: unknown): boolean {
  return isString(value) && value !== ''
}

function isStringList(value: unknown): boolean {
  return Array.isArray(value) && value.every(isString)
}

/** Whether `value` is a whole number that is not negative. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

const PORT_MAX = 65_535

function isPort(value: unknown): boolean {
  return isCount(value) && value <= PORT_MAX
}

function shown(version: unknown): string {
  return isCount(version) ? String(version) : 'what the offer says'
}
