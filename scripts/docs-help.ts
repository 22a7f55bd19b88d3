// What to do about answers and reasons, beyond what the answer's own text says: Markdown, with links from `docs/answers/`.

import type { ReasonName } from '../packages/gateway/src/model/reasons.ts'

const SIGN_IN =
  'Sign in with `npx xengate login URL`, and `npx xengate get NAME` sends the session. For curl, Python, Node.js and pages see [Call a service](../calls.md).'

const LOOK_AT_THE_SERVICE = 'See what the service itself writes, and with `npx xengate services` how it does.'

const TOO_MUCH = '[When there is too much](../operations.md#when-there-is-too-much) explains the limits.'

/** By their names; those whose text is enough have none. */
export const HELP: Readonly<Partial<Record<ReasonName, string>>> = {
  'service-unknown': `- Is it in the list that \`npx xengate services\` prints? Names are compared exactly.
- Is its socket in a directory that the gateway looks in? That is \`.xengate/plugin\` with \`xengate dev\`; otherwise it is what [\`services.directories\`](../configuration.md#services) says, by default \`/var/xapi/plugin\`.
- \`npx xengate explain ID\` tells apart what the client is not told: nothing is there; [\`service-stale\`](service-stale.md), a socket that nobody listens on; [\`service-no-socket\`](service-no-socket.md), something else than a socket; [\`service-name-invalid\`](service-name-invalid.md), a name that cannot be one.
- Does it run on another host? [A pool of hosts](../pool.md) says how the gateway finds it.

[Write a service](../services.md) begins with one that works.`,
  'service-stale':
    'The service has died, or was not started again, and its socket is still there. Start it: the libraries replace the stale socket; another program may have to remove it first. See [Write a service](../services.md).',
  'service-no-socket':
    'Remove the file or the directory, or have the service listen at another path: its socket has to be at `/var/xapi/plugin/NAME`, or in another of [`services.directories`](../configuration.md#services).',
  'service-name-invalid':
    'A name has 1 to 100 letters, digits, `.`, `_` and `-`, does not start with `.` or `-`, and is never decoded: [what is answered](../http.md#what-is-answered).',
  'service-unreachable':
    "The gateway's user needs write permission for the socket, and may have to pass through its directory: `ls -l /var/xapi/plugin`. Sockets of the libraries have mode 0660, so that the gateway's user has to be in their group: see [On a host](../services.md#on-a-host).",
  'service-died': LOOK_AT_THE_SERVICE,
  'response-invalid': `${LOOK_AT_THE_SERVICE} \`npx xengate explain ID\` shows the byte at which the response is malformed.`,
  'service-slow': `${LOOK_AT_THE_SERVICE} If it may take that long, raise [\`limits.response-timeout\`](../configuration.md#limits).`,
  'breaker-open': `${LOOK_AT_THE_SERVICE} \`npx xengate service close-breaker NAME\` has it asked again at once: [the circuit breaker](../operations.md#of-failures-the-circuit-breaker).`,
  'session-missing': `${SIGN_IN} \`Authorization\` is not looked at.`,
  'session-invalid': `The session was ended by a logout or by an administrator, was unused for too long ([\`sessions.idle-timeout\`](../configuration.md#sessions)), or is of another gateway. ${SIGN_IN}`,
  'role-insufficient':
    'Which roles may use a service, and with which methods, is in its [policy](../configuration.md#servicespolicyservice). `xengate user set-role NAME ROLE` gives a user another role: [users and sessions](../operate.md#users-and-sessions).',
  'cross-site': 'See [a page in a browser](../calls.md#a-page-in-a-browser).',
  'path-unknown':
    'The path of a request to a service begins with `/services/plugin/` and its name: [Call a service](../calls.md). The XenAPI takes `POST` alone: [the XenAPI](../http.md#the-xenapi).',
  'method-not-allowed': 'Other methods are allowed by [`services.methods`](../configuration.md#services).',
  'service-elsewhere':
    'What clients do with it: [when the service runs on another host](../calls.md#when-the-service-runs-on-another-host).',
  'host-unknown': 'The names are in [`host-names`](../configuration.md#top-of-the-file).',
  'authority-unavailable':
    'The log says what failed. With sessions in Valkey or xapi, see [A pool of hosts](../pool.md#what-the-log-says).',
  'gateway-busy': TOO_MUCH,
  overloaded: TOO_MUCH,
  'address-busy': TOO_MUCH,
  'session-busy': TOO_MUCH,
  'session-rate': TOO_MUCH,
  'service-busy': TOO_MUCH,
  'queue-slow': TOO_MUCH,
  draining: 'See [out of service, and back](../operations.md#out-of-service-and-back).',
  'plain-on-tls': 'See [listeners](../http.md#listeners).',
  'xapi-unavailable': 'See [in front of xapi](../http.md#in-front-of-xapi).',
}
