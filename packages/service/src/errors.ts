// What can go wrong when a service starts, and what to do about it.

/** What a {@link ServiceError} is about; the text says the details. */
export type ServiceErrorCode =
  /** The name cannot be one of a service. */
  | 'name-invalid'
  /** The options contradict each other, or a value is out of range. */
  | 'options-invalid'
  /** Another program listens on the socket. */
  | 'socket-in-use'
  /** Something that is no socket is at the socket's path. */
  | 'socket-obstructed'
  /** The system refuses the socket, its mode or its group. */
  | 'socket-refused'
  /** What systemd passed cannot be used. */
  | 'sockets-unusable'

/** A service cannot start. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError'
  readonly code: ServiceErrorCode

  constructor(code: ServiceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
