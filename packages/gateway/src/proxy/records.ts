// What a worker tells of its connections, to who asks what goes on.

/** As what a client's connection is counted, and one that is no client's yet. */
export type ConnectionState = 'active' | 'idle' | 'tunnel' | 'channel' | 'arriving' | 'ending' | 'waiting'

/** A client's connection. Times are in milliseconds since the epoch. */
export interface ConnectionRecord {
  /** Names it, for `xengate connection end`. */
  readonly id: string
  readonly listener: string
  readonly state: ConnectionState
  readonly client: string
  readonly port: number
  readonly proto: 'http' | 'https'
  readonly sinceMs: number
  /** Of what is under way; null where nothing is. */
  readonly request: RequestRecord | null
}

/** A request, a tunnel or a channel that is under way. */
export interface RequestRecord {
  readonly id: string
  readonly sinceMs: number
  readonly service: string | null
  /** By which way it goes: `waiting` before that is known. */
  readonly way: 'waiting' | 'relay' | 'tunnel' | 'channel' | 'call'
  /** Of the channel; null where it is none. */
  readonly channel: string | null
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly user: string | null
  /** Uuid of the session. */
  readonly session: string | null
  /** 0 before the response. */
  readonly status: number
  readonly bytesIn: number
  readonly bytesOut: number
}
