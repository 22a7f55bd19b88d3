// Calls of host.call_plugin that custom services answer in front of xapi, in a worker: what is read of bodies, and what services say.

import { connect } from 'node:net'
import { isServiceName } from '@xengate/channel/contract'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import type { PolicySetting } from '../model/policy.ts'
import type { Session } from '../model/session.ts'
import { internalError, sessionInvalid, tooBusy, XenApiError } from './errors.ts'
import { type PluginRequest, readPluginRequest, sessionInPluginRequest } from './plugin-request.ts'
import { askService, CALLS_MAX, noAnswer, TIMEOUT_PART } from './plugin-service.ts'

/** An answer to a call, for its client. */
export interface PluginAnswer {
  readonly contentType: string
  readonly text: string
}

/** Who makes a call, and what is known of the service that it is for. */
export interface PluginCaller {
  readonly session: Session
  readonly clientAddress: string
  readonly directories: readonly string[]
  readonly policy: PolicySetting
  readonly responseTimeoutMs: number
  /** Told when the service is there, and is asked. */
  readonly asked: () => void
  /** Aborted when nobody waits for the answer any more. */
  readonly gone: AbortSignal
}

/** See the head of this file. */
export class PluginAnswers {
  /** xapi's reference of this host; null while it is not known, and no call can be for it. */
  ownHost: string | null = null
  #underWay = 0

  /** The session in whose name `body` may be a call; null when it is none. */
  sessionIn(body: Buffer): string | null {
    return sessionInPluginRequest(body)
  }

  /** The call that `body` is, of a POST to `path`; null when it is for another host, or for what cannot be a service, or may be anything else. */
  read(path: string, body: Buffer): PluginRequest | null {
    const request = readPluginRequest(path, body)
    if (request === null || request.host !== this.ownHost) return null
    return isServiceName(request.plugin) && request.plugin !== CONTROL_SERVICE ? request : null
  }

  /** Has the service answer; null when it does not run here, and was asked nothing. Never rejects. */
  async ask(request: PluginRequest, caller: PluginCaller): Promise<PluginAnswer | null> {
    const { plugin, fn, args, sessionId } = request
    const { session, clientAddress, directories, policy, responseTimeoutMs, asked, gone } = caller
    if (this.#underWay >= CALLS_MAX) return answered(request, request.failed(tooBusy()))
    this.#underWay++
    try {
      const call = { plugin, fn, args, session, sessionId, clientAddress, gone }
      const timeoutMs = responseTimeoutMs * TIMEOUT_PART
      const way = { directories, policy, connect: (path: string) => connect(path).once('connect', asked), timeoutMs }
      const value = await askService(plugin, `/${encodeURIComponent(fn)}`, call, way)
      return value === null ? null : answered(request, request.succeeded(value))
    } catch (error) {
      return answered(request, request.failed(error instanceof XenApiError ? error : internalError()))
    } finally {
      this.#underWay--
    }
  }

  /** What is answered when the service takes too long. */
  late(request: PluginRequest): PluginAnswer {
    return answered(request, request.failed(noAnswer(request.plugin)))
  }

  /** What is answered when the session ends meanwhile. */
  sessionEnded(request: PluginRequest): PluginAnswer {
    return answered(request, request.failed(sessionInvalid(request.sessionId)))
  }
}

function answered({ contentType }: PluginRequest, text: string): PluginAnswer {
  return { contentType, text }
}
