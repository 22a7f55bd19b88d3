// From a head to its exchange: the decision, and what is made of it.

import { performance } from 'node:perf_hooks'
import type { RequestHead } from '@xengate/http1'
import type { LogEvent } from '../../logging/event.ts'
import { STAGE } from '../../model/overload.ts'
import type { Transport } from '../../transport/transport.ts'
import type { SessionEntry } from '../../sessions/table.ts'
import type { PluginAnswers } from '../../xenapi/plugin-answers.ts'
import { Channel } from '../exchange/channel.ts'
import type { Errand } from '../exchange/errand.ts'
import { type Moved, requestOf } from '../exchange/moved.ts'
import type { Client, Exchange, Handler, Shared } from '../exchange/ports.ts'
import { OwnAnswer } from '../exchange/own-answer.ts'
import { PluginCall } from '../exchange/plugin-call.ts'
import { Relay } from '../exchange/relay.ts'
import { Request } from '../exchange/request.ts'
import type { BeginSpan } from '../exchange/span.ts'
import { Tunnel } from '../exchange/tunnel.ts'
import { XenApiCall } from '../exchange/xenapi-call.ts'
import { SEC_FETCH_SITE, TRACEPARENT } from '../heads/field-ids.ts'
import type { Greetings } from '../heads/greetings.ts'
import {
  DRAINING,
  HEALTHY,
  HOST_UNKNOWN,
  malformed,
  OVERLOADED,
  type Refusal,
  SESSION_INVALID,
  SESSION_MISSING,
  signInFirst,
} from '../heads/refusals.ts'
import { callLines, requestText } from '../heads/request-text.ts'
import { isForDashboard, isForService, serviceNameIn } from '../heads/target.ts'
import { wantedUpgrade } from '../heads/upgrade.ts'
import { xapiText } from '../heads/xapi-text.ts'
import { dashboardTarget, type Front, type Target, xapiTarget, xenapiTarget } from '../upstream/target.ts'
import { type AdmissionRules, decide, decideDashboard, type Decision, type Learned } from './decide.ts'
import { decideXapi, isXenApiCall, lacksHost, mayCallPlugin, type XapiDecision } from './decide-xapi.ts'
import type { HostNames } from './host-names.ts'
import { type Awaited, Pending } from './pending.ts'

/** How often a quiet client of xapi is probed by TCP. */
const KEEP_ALIVE_MS = 60_000

/** What a handler is made from. */
export interface HandlerOptions {
  readonly rules: AdmissionRules
  /** xapi, when the gateway stands in front of it: then it has no XenAPI endpoint of its own. */
  readonly front: Front | null
  /** Answers calls of plugins in front of xapi; null where all of them are xapi's. */
  readonly plugins: PluginAnswers | null
  /** Unix socket of the XenAPI endpoint; null when the gateway has none. */
  readonly xenapiPath: string | null
  /** Unix socket where services bring back what a channel must not answer. */
  readonly returnPath: string
  /** By which they say there which client's they are. */
  readonly greetings: Greetings
  readonly transport: Transport
  /** Short text that tells this worker's ids from others'. */
  readonly idPrefix: string
  /** Whether the gateway takes no more: then no connection is passed. */
  readonly isDraining: () => boolean
  /** Whether clients had better go elsewhere: it takes no more, and nobody else does in its place. */
  readonly isLeaving: () => boolean
  readonly nextRequestId: () => string
}

/** What a handler takes while it runs. */
export interface HandlerSettings {
  /** Names that the gateway goes by. */
  readonly hostNames: HostNames
  /** Unix socket of the dashboard's server; null when there is no dashboard. */
  readonly dashboardPath: string | null
  /** Whether browsers without a session are sent to its sign-in page. */
  readonly hasSignInPage: boolean
  /** Whether `GET /healthz` is answered. */
  readonly hasHealth: boolean
  /** Begins the span of a request for a service; null where requests are not traced. */
  readonly beginSpan: BeginSpan | null
  /** Told of what is of use only to who looks for a fault; null when nobody is. */
  readonly debug: ((event: LogEvent) => void) | null
}

function dashboardOf({ dashboardPath }: HandlerSettings): Target | null {
  return dashboardPath === null ? null : dashboardTarget(dashboardPath)
}

/** Where load balancers look. */
const HEALTH_PATH = '/healthz'

const NOTHING_LEARNED: Learned = Object.freeze({ answer: null, connected: null })

/** See the head of this file. */
export class Admission implements Handler {
  rules: AdmissionRules
  readonly #shared: Shared
  readonly #options: HandlerOptions
  #settings: HandlerSettings
  readonly #xenapi: Target
  #dashboard: Target | null
  /** xapi as it is for each client that has asked for it. */
  readonly #xapi = new WeakMap<Client, Target>()
  #passes = 0

  constructor(shared: Shared, options: HandlerOptions & HandlerSettings) {
    this.#shared = shared
    this.#options = options
    this.#settings = options
    this.rules = options.rules
    this.#xenapi = xenapiTarget(options.xenapiPath ?? '')
    this.#dashboard = dashboardOf(options)
  }

  /** Whether there is a dashboard, and with it the documentation. */
  get hasDashboard(): boolean {
    return this.#dashboard !== null
  }

  configure(settings: HandlerSettings): void {
    this.#settings = settings
    this.#dashboard = dashboardOf(settings)
  }

  handle(head: RequestHead, client: Client, before: Exchange | null): Exchange | null {
    const hasRequest = before instanceof Pending || before instanceof Channel || before instanceof PluginCall
    const known = hasRequest ? before.request : null
    // A request that has waited keeps its name and its start.
    const request =
      known === null
        ? new Request(this.#options.nextRequestId(), performance.now())
        : new Request(known.id, known.startedMs)
    request.connectMs = known?.connectMs ?? 0
    request.hasWaited = known !== null
    request.turn = known?.turn ?? null
    request.span = known?.span ?? null
    if (this.#options.front !== null && lacksHost(head)) {
      return this.#refuse(client, new Request(request.id, 0), malformed('host-missing'))
    }
    request.read(head, this.#shared.trailerLines)
    // One that has waited was let in before.
    if (before === null && !this.#settings.hostNames.allows(head)) {
      request.isForService = isForService(request.target)
      return this.#refuse(client, request, HOST_UNKNOWN)
    }
    if (before instanceof PluginCall && before.answer !== null) {
      return new OwnAnswer(this.#shared, client, request, before.request, before.answer)
    }
    const learned = before instanceof Pending ? before.learned : NOTHING_LEARNED
    const wasDeclined = before instanceof Pending ? before.wasDeclined : before !== null
    return this.#admit(head, client, request, learned, wasDeclined)
  }

  /** @param wasDeclined whether the service would not take the client's connection */
  #admit(head: RequestHead, client: Client, request: Request, learned: Learned, wasDeclined: boolean): Exchange | null {
    const decision = this.#decide(head, request, client, learned, wasDeclined)
    // A connection that was waited for is used now or not at all.
    const { connected } = learned
    if (!('connection' in decision) && connected !== null && typeof connected !== 'string') {
      connected.destroy()
    }
    switch (decision.kind) {
      case 'refuse':
        request.service = decision.name
        request.isForService = isForService(request.target)
        if (decision.entry !== null) request.isOf(decision.entry)
        if (request.isForService) this.#trace(head, client, request)
        return this.#refuse(client, request, this.#forPerson(request, decision.refusal))
      case 'ask':
        return this.#wait(head, client, request, { sessionId: decision.id }, NOTHING_LEARNED, wasDeclined)
      case 'queue':
        request.isOf(decision.entry)
        return this.#wait(
          head,
          client,
          request,
          { service: decision.name, session: decision.entry.session, timeoutMs: decision.timeoutMs },
          learned,
          wasDeclined,
        )
      case 'connect':
        return this.#wait(head, client, request, { target: decision.target }, learned, wasDeclined)
      case 'call':
        return this.#call(head, decision.target ?? this.#xenapi, client, request)
      case 'plugin':
        return new PluginCall(this.#shared, this.rules, decision.plugins, client, request, head)
      case 'pass':
        return (
          (this.#isBrowser(head) ? null : this.#pass(head, decision, client, request)) ??
          this.#admit(head, client, request, learned, true)
        )
      case 'relay':
        return this.#relay(head, decision, client, request)
      case 'dashboard':
        return this.#relayToDashboard(head, decision, client, request)
      case 'xapi':
        return this.#relayToXapi(head, decision, client, request)
    }
  }

  #decide(
    head: RequestHead,
    request: Request,
    client: Client,
    learned: Learned,
    wasDeclined: boolean,
  ): Decision | XapiDecision {
    if (!isForService(request.target)) {
      const decision = this.#decideOther(head, request, client, learned, wasDeclined)
      if (decision !== null) return decision
    }
    return decide(this.rules, head, request, learned, !wasDeclined && this.#isPassable(client), client.peer.repeated)
  }

  /** Decides on what is for no service; null when it is for the XenAPI, or for nobody. */
  #decideOther(
    head: RequestHead,
    request: Request,
    client: Client,
    learned: Learned,
    wasDeclined: boolean,
  ): Decision | XapiDecision | null {
    const { front, isLeaving, plugins } = this.#options
    const { method, target } = request
    if (this.#settings.hasHealth && target === HEALTH_PATH && (method === 'GET' || method === 'HEAD')) {
      return { kind: 'refuse', refusal: isLeaving() ? DRAINING : HEALTHY, name: null, entry: null }
    }
    const { pool } = this.#shared
    if (this.#dashboard !== null && isForDashboard(method, target, front !== null)) {
      return decideDashboard(pool, head, request, this.#dashboard, learned)
    }
    if (front !== null && this.rules.overload.stage >= STAGE.REFUSE) {
      return { kind: 'refuse', refusal: OVERLOADED, name: 'xapi', entry: null }
    }
    if (plugins !== null && !wasDeclined && plugins.ownHost !== null && mayCallPlugin(head, request)) {
      return { kind: 'plugin', plugins }
    }
    return front === null ? null : decideXapi(pool, head, request, this.#xapiFor(client, front), learned)
  }

  /** Whether a browser asks, where there is a dashboard: on a connection of its own a service could tell it what no response may say. */
  #isBrowser(head: RequestHead): boolean {
    return this.#dashboard !== null && head.first(SEC_FETCH_SITE) !== undefined
  }

  /** Whether the connection could be passed to a service now, as far as is known: `stop` of its wire knows. */
  #isPassable({ peer, hasEnded, wire }: Client): boolean {
    return peer.canPass && !hasEnded && !wire.isPending && !this.#options.isDraining()
  }

  #xapiFor(client: Client, front: Front): Target {
    const known = this.#xapi.get(client)
    if (known !== undefined) return known
    const target = xapiTarget(front, client.peer.ends)
    this.#xapi.set(client, target)
    return target
  }

  /** Somebody at a browser who has no session may sign in, where the configuration says so; a program is told that it has none. */
  #forPerson({ method, target, accept }: Request, refused: Refusal): Refusal {
    const { front } = this.#options
    if (
      !this.#settings.hasSignInPage ||
      this.#dashboard === null ||
      (refused !== SESSION_MISSING && refused !== SESSION_INVALID)
    )
      return refused
    if (method !== 'GET' || accept?.includes('text/html') !== true) return refused
    return signInFirst(`${front === null ? '/' : '/xengate/'}?to=${encodeURIComponent(target)}`)
  }

  #refuse(client: Client, request: Request, refusal: Refusal): null {
    client.refuse(refusal, request)
    return null
  }

  #wait(
    head: RequestHead,
    client: Client,
    request: Request,
    awaited: Awaited,
    learned: Learned,
    wasDeclined: boolean,
  ): Pending {
    request.isForService = isForService(request.target)
    if (request.isForService) {
      request.service = serviceNameIn(request.target)
      this.#trace(head, client, request)
    }
    return new Pending(this.#shared, this.rules, client, request, awaited, learned, wasDeclined)
  }

  #call(head: RequestHead, target: Target, client: Client, request: Request): XenApiCall {
    request.service = target.name
    const lines = callLines(head, request.method, client.peer.forwardedLines, request.id)
    return new XenApiCall(this.#shared, client, request, target, lines)
  }

  /** Offers the connection to a service. @returns the channel whose answer is to come, or null when nobody takes it */
  #pass(
    head: RequestHead,
    { name, entry, sessionId, methods }: Extract<Decision, { kind: 'pass' }>,
    client: Client,
    request: Request,
  ): Channel | null {
    // Nothing may be read behind the service's back.
    if (!client.stop()) return null
    const { channels } = this.rules
    const { idPrefix, returnPath, greetings, transport } = this.#options
    const { user, subject, roles, originator } = entry.session
    const { address, port, proto, ends } = client.peer
    const id = `${idPrefix}-c${(this.#passes++).toString(36)}`
    const opened = channels.open(
      client.wire.fd,
      {
        channel: id,
        service: name,
        session: { id: sessionId, user, subject, roles, originator },
        methods,
        client: { address, port },
        proto,
        gateway: returnPath,
        greeting: greetings.of(ends),
      },
      head.received,
    )
    this.#settings.debug?.({
      event: opened === null ? 'channel-not-offered' : 'channel-offered',
      channel: id,
      service: name,
    })
    if (opened === null) {
      client.resume()
      return null
    }
    request.service = name
    request.isForService = true
    request.isOf(entry)
    // When the offer comes to nothing in the end, the service may still have the connection.
    request.isPersistent = false
    const control = transport.adopt(opened.fd, true)
    if (opened.unsent !== null) {
      control.data(opened.unsent, 0, opened.unsent.length)
      control.flush()
    }
    return new Channel(this.#shared, channels, client, control, { id, service: name, entry, methods, request })
  }

  /** Begins its span, where requests are traced. */
  #trace(head: RequestHead, { peer }: Client, request: Request): void {
    const { beginSpan } = this.#settings
    if (beginSpan === null || request.span !== null) return
    const { id: requestId, method, service, path, startedMs } = request
    const traceparent = head.first(TRACEPARENT)
    const { proto: scheme, address: client } = peer
    request.span = beginSpan({ requestId, method, service, path, scheme, client, startedMs, traceparent })
  }

  /** Goes on with what was under way in another process. @param serviceFd of its connection to the service. @param entry its session's */
  resume(client: Client, serviceFd: number, moved: Moved, entry: SessionEntry | null): Channel | Tunnel {
    const { transport } = this.#options
    const request = requestOf(moved.request, entry)
    if (moved.kind === 'channel' && entry !== null) {
      // The connection is the service's to read from.
      client.pause()
      const { channel: id, service, methods } = moved
      const control = transport.adopt(serviceFd, true)
      const passed = { id, service, entry, methods, request }
      return new Channel(this.#shared, this.rules.channels, client, control, passed, moved)
    }
    if (entry !== null) {
      entry.underWay++
      const { gates, policies } = this.rules
      const service = request.service ?? ''
      request.turn = gates.goesOn(service, policies.of(service).limits, entry)
    }
    const name = moved.kind === 'tunnel' ? moved.counted : moved.service
    const isUnix = moved.kind === 'channel' || moved.isUnix
    return new Tunnel(
      this.#shared,
      client,
      this.rules.pool.adopt(transport.adopt(serviceFd, isUnix), name),
      request,
      null,
    )
  }

  #relay(
    head: RequestHead,
    { connection, target, entry, policy }: Extract<Decision, { kind: 'relay' }>,
    client: Client,
    request: Request,
  ): Relay {
    request.service = target.name
    request.isForService = true
    request.isOf(entry)
    entry.underWay++
    this.#trace(head, client, request)
    const upgrade = wantedUpgrade(head)
    const { host } = head
    const isReused = request.decoder === null || policy.reuse === 'always' || connection.readsBodies
    const text = requestText(head, {
      method: request.method,
      target: request.target,
      host,
      stripSession: policy.stripSession,
      callerLines: client.peer.callerLines(entry, host),
      requestId: request.id,
      traceparent: request.span?.traceparent ?? null,
      upgrade,
      isLast: !isReused,
    })
    return new Relay(this.#shared, client, connection, request, {
      target,
      text,
      upgrade,
      reuse: isReused ? 'always' : 'never',
      cutsWithSession: policy.cutTransfers,
      isForXapi: false,
    })
  }

  #relayToDashboard(
    head: RequestHead,
    { connection, target }: Extract<Decision, { kind: 'dashboard' }>,
    client: Client,
    request: Request,
  ): Relay {
    request.service = target.name
    const text = requestText(head, {
      method: request.method,
      target: request.target,
      host: head.host,
      stripSession: false,
      callerLines: client.peer.forwardedLines,
      requestId: request.id,
      traceparent: null,
      upgrade: undefined,
      isLast: false,
    })
    const errand: Errand = {
      target,
      text,
      upgrade: undefined,
      reuse: 'always',
      cutsWithSession: false,
      isForXapi: false,
    }
    return new Relay(this.#shared, client, connection, request, errand)
  }

  #relayToXapi(
    head: RequestHead,
    { connection, target, isLast }: Extract<XapiDecision, { kind: 'xapi' }>,
    client: Client,
    request: Request,
  ): Exchange {
    request.service = target.name
    const upgrade = isLast ? undefined : wantedUpgrade(head)
    const reuse = request.decoder === null ? 'always' : isXenApiCall(request) ? 'after-200' : 'never'
    // A peer that is gone without a word is found by TCP: nothing else ends what takes its time.
    client.wire.keepAlive(KEEP_ALIVE_MS)
    const text = xapiText(head, isLast, reuse === 'never', upgrade)
    const errand: Errand = { target, text, upgrade, reuse, cutsWithSession: false, isForXapi: true }
    return isLast
      ? new Tunnel(this.#shared, client, connection, request, errand)
      : new Relay(this.#shared, client, connection, request, errand)
  }
}
