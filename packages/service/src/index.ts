// @xengate/service: for those who write a custom service in Node.js. It listens where the gateway looks, tells a handler who is
// asking, and takes clients' own connections from the gateway, so that nothing stands between them and the handler.

// oxlint-disable-next-line import/no-unassigned-import -- it throws, or does nothing
import './node-version.ts'

export type { Caller } from './caller.ts'
export { ServiceError, type ServiceErrorCode } from './errors.ts'
export type { FetchHandler } from './fetch.ts'
export type { ServiceRequest } from './request.ts'
export { type RequestHandler, serve, type ServeOptions, type Service, type UpgradeListener } from './serve.ts'
