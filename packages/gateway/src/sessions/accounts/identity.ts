// Who a gateway is to XenAPI clients.

/** Lasting uuids of the pool and the host. */
export interface Identity {
  readonly poolUuid: string
  readonly hostUuid: string
}
