// What `xengate new service` writes: for each language the source of a service and of its test, and what both share.

import { C_README, C_SERVICE, C_TEST } from './c.ts'
import { GO_MODULE, GO_README, GO_SERVICE, GO_TEST } from './go.ts'
import { PYTHON_README, PYTHON_SERVICE, PYTHON_TEST } from './python.ts'
import { TYPESCRIPT_MANIFEST, TYPESCRIPT_README, TYPESCRIPT_SERVICE, TYPESCRIPT_TEST } from './typescript.ts'

/** Languages that a service can be begun in. */
export const LANGUAGES = ['typescript', 'python', 'go', 'c'] as const

export type Language = (typeof LANGUAGES)[number]

/** What stands for the service's name in a template. */
const NAME = /%NAME%/g
/** What stands for the name of its package, where a language has them. */
const PACKAGE = /%PACKAGE%/g

interface Template {
  /** Texts by file name; `%NAME%` is the service's name, also in file names. */
  readonly files: Readonly<Record<string, string>>
  /** What starts the service from its directory below /opt. */
  readonly start: string
  /** Whether it takes channels, for which it needs the second socket. */
  readonly takesChannels: boolean
}

const TEMPLATES: Readonly<Record<Language, Template>> = {
  typescript: {
    files: {
      'service.ts': TYPESCRIPT_SERVICE,
      'service.test.ts': TYPESCRIPT_TEST,
      'package.json': TYPESCRIPT_MANIFEST,
      'README.md': TYPESCRIPT_README,
    },
    start: '/usr/bin/env node --disable-sigusr1 /opt/%NAME%/service.ts',
    takesChannels: true,
  },
  python: {
    files: { 'service.py': PYTHON_SERVICE, 'test_service.py': PYTHON_TEST, 'README.md': PYTHON_README },
    start: '/usr/bin/env python3 /opt/%NAME%/service.py',
    takesChannels: true,
  },
  go: {
    files: { 'service.go': GO_SERVICE, 'service_test.go': GO_TEST, 'go.mod': GO_MODULE, 'README.md': GO_README },
    start: '/opt/%NAME%/service',
    takesChannels: true,
  },
  c: {
    files: { 'service.c': C_SERVICE, 'test_service.sh': C_TEST, 'README.md': C_README },
    start: '/opt/%NAME%/service',
    takesChannels: false,
  },
}

const SOCKET_UNIT = `[Unit]
Description=Sockets of the custom service %NAME%

[Socket]
ListenStream=/var/xapi/plugin/%NAME%
%CHANNEL%# Who can connect is trusted: root and the gateway's user.
SocketMode=0660
SocketGroup=xengate

[Install]
WantedBy=sockets.target
`

const CHANNEL_LINE = 'ListenStream=/var/xapi/plugin/%NAME%.channel\n'

const SERVICE_UNIT = `[Unit]
Description=Custom service %NAME%
Requires=%NAME%.socket
After=%NAME%.socket

[Service]
ExecStart=%START%
# Not root. A user for this service alone is better: make one, or write DynamicUser=yes in place of this, which systemd knows from 232 on.
User=nobody
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=yes
PrivateTmp=yes
Restart=on-failure
# A drain takes at most 30 s.
TimeoutStopSec=40
`

/** The files of a new service, texts by file name. */
export function filesOf(name: string, language: Language): ReadonlyMap<string, string> {
  const { files, start, takesChannels } = TEMPLATES[language]
  const all = {
    ...files,
    '%NAME%.socket': SOCKET_UNIT.replace('%CHANNEL%', takesChannels ? CHANNEL_LINE : ''),
    '%NAME%.service': SERVICE_UNIT.replace('%START%', start),
  }
  return new Map(Object.entries(all).map(([file, text]) => [named(file, name), named(text, name)]))
}

function named(text: string, name: string): string {
  return text.replace(NAME, () => name).replace(PACKAGE, () => packageOf(name))
}

/** The service's name as npm takes one for a package: in lower case, and without `_` at the beginning. */
function packageOf(name: string): string {
  return name.toLowerCase().replace(/^[_.-]+/, '') || 'service'
}
