// npm's xen-api, Xen Orchestra's client, which comes without types: what the tests use of it.

import { createRequire } from 'node:module'
import type { Readable } from 'node:stream'

/** What is used of the client. */
export interface XenApiClient {
  readonly sessionId: string
  readonly pool: Readonly<Record<string, unknown>>
  readonly objectsFetched: Promise<void>
  readonly objects: { readonly all: Readonly<Record<string, XenApiClientObject>> }
  connect(): Promise<void>
  disconnect(): Promise<void>
  call(method: string, ...params: unknown[]): Promise<unknown>
  getResource(path: string, options?: { query?: object }): Promise<ResourceResponse>
  /** Resolves with the task's reference; the client destroys the task when it has ended. */
  createTask(label: string): Promise<string>
  /** Resolves with the task's result when it has succeeded. */
  watchTask(reference: string): Promise<unknown>
  putResource(body: Buffer | Readable, path: string, options?: { query?: object }): Promise<unknown>
}

/** What it knows of an object. */
export interface XenApiClientObject {
  readonly $type: string
  readonly progress?: number
}

/** What a resource is answered with. */
export interface ResourceResponse {
  /** The end of the task, when there is one. */
  readonly task?: Promise<unknown>
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: { text(): Promise<string>; bytes(): Promise<Uint8Array> }
}

interface XenApiModule {
  createClient(options: object): XenApiClient
}

const xenApi = createRequire(import.meta.url)('xen-api') as XenApiModule

/** A client of the gateway at `url`, not connected yet. */
export function xenApiClient(
  url: string,
  auth: { user: string; password: string },
  options: object = {},
): XenApiClient {
  return xenApi.createClient({ url, auth, watchEvents: false, ...options })
}
