// Why a request or a connection ended otherwise than by its answer: one catalogue, for the log, the metrics and docs/operations.md. A
// reason says who ended it, and in which phase.

import { REASONS as MESSAGE_REASONS, type Reason as MessageReason } from '@xengate/http1'

/** Whose doing it was. */
export type By = 'client' | 'service' | 'gateway' | 'operator'

/** Where a request, or a connection, was when it ended. */
export type Phase = 'arrive' | 'read' | 'admit' | 'connect' | 'send' | 'answer' | 'idle'

/** A reason. */
export interface EndReason {
  readonly by: By
  readonly phase: Phase
  /** What happened, in a clause. */
  readonly text: string
}

/** Reasons of the gateway's own. */
const OWN = {
  'proxy-header-missing': ['client', 'arrive', 'the connection does not begin with the header of the PROXY protocol'],
  'proxy-header-malformed': ['client', 'arrive', 'the header of the PROXY protocol is malformed'],
  'proxy-header-too-long': ['client', 'arrive', 'the header of the PROXY protocol is too long'],
  'proxy-header-slow': ['client', 'arrive', 'the header of the PROXY protocol did not come in time'],
  'tls-failed': ['client', 'arrive', 'the handshake of TLS failed'],
  'tls-slow': ['client', 'arrive', 'the handshake of TLS took too long'],
  'plain-on-tls': ['client', 'arrive', 'the client speaks HTTP without TLS to a port of HTTPS'],
  'gateway-busy': ['gateway', 'arrive', 'a limit of connections, descriptors or look-ups is reached'],
  'address-busy': ['client', 'arrive', 'the address has as many connections as limits.share lets one have'],
  'request-slow': ['client', 'read', 'the request did not arrive in time'],
  'host-unknown': ['client', 'admit', 'Host names the gateway by none of `host-names`'],
  'session-missing': ['client', 'admit', 'the request names no session'],
  'session-invalid': ['client', 'admit', 'the session is not a live one'],
  'cross-site': ['client', 'admit', "a page of another site used the session's cookie"],
  'role-insufficient': ['client', 'admit', 'the role of the session may not do this'],
  'service-unnamed': ['client', 'admit', 'the path names no service'],
  'service-name-invalid': ['client', 'admit', 'the name cannot be that of a service'],
  'path-unknown': ['client', 'admit', 'nothing is at the path'],
  'method-not-allowed': ['client', 'admit', 'the method may not be used'],
  'sign-in-first': ['client', 'admit', 'no session yet: a person is sent to the sign-in page'],
  'service-elsewhere': ['gateway', 'admit', 'the service runs on another host of the pool'],
  'authority-unavailable': ['gateway', 'admit', 'the authority cannot tell whether the session is live'],
  'session-busy': ['client', 'admit', 'the session has as many requests under way as limits.share lets one have'],
  overloaded: ['gateway', 'admit', 'the gateway has too little of something: xengate_overload_stage'],
  'session-rate': ['client', 'admit', 'the session makes more requests a second to the service than it may'],
  'service-busy': ['gateway', 'admit', 'the service has as many requests as it may, and as many wait as may'],
  'queue-slow': ['gateway', 'admit', 'the request waited too long for its turn at the service'],
  'breaker-open': ['service', 'admit', 'the service has failed again and again, and is not asked for a moment'],
  healthy: ['gateway', 'admit', 'nothing is refused: a load balancer is told that the gateway serves'],
  draining: ['operator', 'admit', 'the gateway is stopping, or out of service'],
  'service-unknown': ['service', 'connect', 'no socket is there'],
  'service-stale': ['service', 'connect', 'nobody listens on the socket'],
  'service-no-socket': ['service', 'connect', 'what is there is no socket'],
  'service-unreachable': ['service', 'connect', 'the gateway may not use the socket'],
  'xapi-unavailable': ['service', 'connect', 'xapi does not answer behind the gateway'],
  'body-too-long': ['client', 'send', 'the body of a call of the XenAPI is too long'],
  'service-died': ['service', 'answer', 'the service closed the connection before its response was complete'],
  'service-slow': ['service', 'answer', 'the service did not answer in time'],
  'response-invalid': ['service', 'answer', 'the service did not answer valid HTTP'],
  'switch-unasked': ['service', 'answer', 'the service switched protocols without being asked to'],
  'interim-flood': ['service', 'answer', 'the service sent interim responses without end'],
  'response-unread': ['client', 'answer', 'the client did not take the response in time'],
  'client-gone': ['client', 'answer', 'the client closed its connection while a request was under way'],
  'session-ended': ['operator', 'answer', 'the session ended, by a logout or by an administrator'],
  'policy-changed': ['operator', 'answer', 'a reload no longer allows what was under way'],
  'authority-silent': ['gateway', 'answer', 'endings of sessions may not be heard of any more'],
  'operator-ended': ['operator', 'answer', 'an administrator ended it'],
  'drain-timeout': ['operator', 'answer', 'the gateway stopped, and the time to finish was over'],
  'tunnel-closed-by-client': ['client', 'answer', 'the client closed a WebSocket or another tunnel'],
  'tunnel-closed-by-service': ['service', 'answer', 'the service closed a WebSocket or another tunnel'],
  'channel-over': ['service', 'answer', 'the service is done with the connection that it had taken'],
  'channel-failed': ['service', 'answer', 'the service did not keep to the protocol of channels'],
  'body-unwanted': ['client', 'idle', 'the client sent on what nobody wanted'],
  'last-request': ['client', 'idle', 'the client had said that the request was its last'],
  'connection-spent': ['gateway', 'idle', 'after an answer no other request could follow on the connection'],
  'idle-timeout': ['gateway', 'idle', 'the client asked nothing for limits.idle-timeout'],
  'client-closed': ['client', 'idle', 'the client closed its connection between requests'],
  'gateway-stopped': [
    'operator',
    'idle',
    'the gateway stopped, was taken out of service, or gave way to a newer configuration',
  ],
} as const

/** The name of a reason, as the log and the metrics have it. */
export type ReasonName = keyof typeof OWN | MessageReason

/** All of them. */
export const END_REASONS: Readonly<Record<ReasonName, EndReason>> = Object.fromEntries([
  ...Object.entries(MESSAGE_REASONS).map(([name, text]) => [name, ofMessage(name, text)] as const),
  ...Object.entries(OWN).map(([name, [by, phase, text]]) => [name, { by, phase, text }] as const),
]) as Record<ReasonName, EndReason>

/** Of a malformed message of a client's: its head could not be read, or its body. */
function ofMessage(name: string, text: string): EndReason {
  return { by: 'client', phase: /^(?:body|chunk)-/.test(name) ? 'send' : 'read', text }
}
