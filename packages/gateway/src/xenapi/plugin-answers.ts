// Calls of host.call_plugin that custom services answer in front of xapi, in a worker: what is read of bodies, and what services say.

import { connect } from 'node:net'
import { isServiceName } from '@xengate/channel/contract'
import { CONTROL_SERVICE } from '../model/control-service.ts'
import type { PolicySetting } from '../model/policy.ts'
import type { ReasonName } from '../model/reasons.ts'
import type { Session } from '../model/session.ts'
import { internalError, sessionInvalid, XenApiError } from './errors.ts'
import { type PluginRequest, readPluginRequest, sessionInPluginRequest } from './plugin-request.ts'
import { askService, CALLS_MAX, noAnswer, ServiceFailure, TIMEOUT_PART } from './plugin-service.ts'

/** Calls of one session that are under way at once. */
const SESSION_CALLS_MAX = CALLS_MAX / 2

/** An answer to a call, for its client; how the call ended, for the log. */
export interface PluginAnswer {
  readonly contentType: string
  readonly text: string
  readonly outcome: 'complete' | 'service-failed' | 'gateway-failed' | 'cut'
  /** Null where the service has answered. */
  readonly reason: ReasonName | null
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
  /** By the session's uuid. */
  readonly #underWayOf = new Map<string, number>()

  /** The session in whose name `body` may be a call; null when it is none. Workers that answer no calls do not load what reads them. */
  sessionIn(body: Buffer): string | null {
    return sessionInPluginRequest(body)
  }

  /** The call that `body` is, of a POST to `path`; null when it is for another host, or for what cannot be a service, or may be anything else. */
  read(path: string, body: Buffer): PluginRequest | null {
    const request = readPluginRequest(path, body)
    if (request === null || request.host !== this.ownHost) return null
    return isServiceName(request.plugin) && request.plugin !== CONTROL_SERVICE ? request : null
  }

  /** Has the service answer; null when it does not run here, or too many are asked, and it was asked nothing. Never rejects. */
  async ask(request: PluginRequest, caller: PluginCaller): Promise<PluginAnswer | null> {
    const { plugin, fn, args, sessionId } = request
    const { session, clientAddress, directories, policy, responseTimeoutMs, asked, gone } = caller
    if (!this.#enter(session)) return null
    try {
      const call = { plugin, fn, args, session, sessionId, clientAddress, gone }
      const timeoutMs = responseTimeoutMs * TIMEOUT_PART
      const way = { directories, policy, connect: (path: string) => connect(path).once('connect', asked), timeoutMs }
      const value = await askService(plugin, `/${encodeURIComponent(fn)}`, call, way)
      return value === null ? null : answerOf(request, request.succeeded(value), 'complete')
    } catch (error) {
      return failed(request, error)
    } finally {
      this.#leave(session)
    }
  }

  /** @returns whether there is a place for a call of the session */
  #enter({ uuid }: Session): boolean {
    const count = this.#underWayOf.get(uuid) ?? 0
    if (this.#underWay >= CALLS_MAX || count >= SESSION_CALLS_MAX) return false
    this.#underWay++
    this.#underWayOf.set(uuid, count + 1)
    return true
  }

  #leave({ uuid }: Session): void {
    const count = this.#underWayOf.get(uuid) ?? 0
    this.#underWay--
    if (count > 1) this.#underWayOf.set(uuid, count - 1)
    else this.#underWayOf.delete(uuid)
  }

  /** What is answered when the service takes too long. */
  late(request: PluginRequest): PluginAnswer {
    return failed(request, noAnswer(request.plugin, 'service-slow'))
  }

  /** What is answered when the session ends meanwhile. */
  sessionEnded(request: PluginRequest): PluginAnswer {
    return answerOf(request, request.failed(sessionInvalid(request.sessionId)), 'cut', 'session-ended')
  }
}

function failed(request: PluginRequest, error: unknown): PluginAnswer {
  if (!(error instanceof XenApiError)) return answerOf(request, request.failed(internalError()), 'gateway-failed')
  const text = request.failed(error)
  return error instanceof ServiceFailure
    ? answerOf(request, text, 'service-failed', error.reason)
    : answerOf(request, text, 'complete')
}

function answerOf(
  { contentType }: PluginRequest,
  text: string,
  outcome: PluginAnswer['outcome'],
  reason: ReasonName | null = null,
): PluginAnswer {
  return { contentType, text, outcome, reason }
}
