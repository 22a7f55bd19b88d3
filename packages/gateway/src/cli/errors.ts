// What can go wrong on the command line: one catalogue, from which a failure's exit code and advice come.

import { type Io, say } from './io.ts'

/** Exit codes of the command. */
export const EXIT = { ok: 0, failed: 1, usage: 2, signIn: 4 } as const

/** A failure's code. Codes of errors from other parts are the same in kebab-case. */
export type FailureCode =
  | 'config-invalid'
  | 'config-missing'
  | 'state-missing'
  | 'state-empty'
  | 'state-busy'
  | 'state-unusable'
  | 'demo-failed'
  | 'listen-failed'
  | 'tls-unusable'
  | 'password-differs'
  | 'password-unreadable'
  | 'user-exists'
  | 'user-unknown'
  | 'user-name-invalid'
  | 'password-invalid'
  | 'role-invalid'
  | 'database-unreadable'
  | 'database-foreign'
  | 'database-newer'
  | 'database-full'
  | 'database-busy'
  | 'busy'
  | 'valkey-unavailable'
  | 'users-elsewhere'
  | 'session-unknown'
  | 'session-ambiguous'
  | 'daemon-unreachable'
  | 'daemon-absent'
  | 'session-needed'
  | 'role-needed'
  | 'session-file-unusable'
  | 'session-left'
  | 'sign-in-refused'
  | 'user-missing'
  | 'ca-unusable'
  | 'certificate-unknown'
  | 'gateway-unreachable'
  | 'service-name-invalid'
  | 'header-invalid'
  | 'body-missing'
  | 'file-unreadable'
  | 'call-failed'
  | 'transfer-broken'
  | 'url-invalid'
  | 'url-missing'
  | 'control-failed'
  | 'request-unknown'
  | 'connection-unknown'
  | 'breaker-closed'
  | 'not-confirmed'
  | 'front-not-possible'
  | 'front-failed'
  | 'port-reserved'
  | 'port-unknown'
  | 'firewall-unknown'
  | 'firewall-failed'
  | 'config-secret'
  | 'config-large'
  | 'save-failed'
  | 'config-there'
  | 'saved-missing'
  | 'saved-unreadable'
  | 'host-unknown'
  | 'xapi-unavailable'
  | 'root-needed'
  | 'host-only'
  | 'reload-refused'
  | 'upgrade-refused'
  | 'drain-refused'
  | 'new-name-invalid'
  | 'directory-not-empty'
  | 'directory-unusable'
  | 'plugins-unusable'

interface Entry {
  readonly exit: number
  /** What to try: a clause that a person can follow. Empty when the text says it all. */
  readonly advice: string
}

const failed = (advice: string): Entry => ({ exit: EXIT.failed, advice })

const CATALOGUE: Readonly<Record<FailureCode, Entry>> = {
  'config-invalid': failed('xengate config-schema --sample prints a file with every option'),
  'config-missing': failed('give --config FILE, or put the configuration there'),
  'state-missing': failed(
    'give --config FILE or --state DIR; or --url URL of a gateway elsewhere, after xengate login; or start xengate dev here first',
  ),
  'state-empty': failed('add the first user with xengate user add'),
  'state-unusable': failed(
    'give another directory, by --state DIR or state-dir in the configuration, or run this as a user who may write there',
  ),
  'state-busy': failed('stop the other one, or give another directory'),
  'demo-failed': failed('see what the demo service said above'),
  'listen-failed': failed(
    'listen elsewhere (xengate dev --port 0 takes a free port; else [[listen]] in the configuration), or stop the program that is there',
  ),
  'tls-unusable': failed('give listen.tls the PEM files of a certificate and its key, which the daemon can read'),
  'password-differs': failed('type the same password twice'),
  'password-unreadable': { exit: EXIT.usage, advice: 'give --password-stdin and the password on standard input' },
  'user-exists': failed('change it with xengate user passwd, or remove it first'),
  'user-unknown': failed('see xengate user list'),
  'user-name-invalid': failed(''),
  'password-invalid': failed(''),
  'role-invalid': failed(''),
  'database-unreadable': failed('check who owns the state directory, and run this as that user'),
  'database-foreign': failed('move the file away, or give another directory'),
  'database-newer': failed('use the version of xengate that wrote it, or a newer one'),
  'database-full': failed('make room in the file system of the state directory'),
  'database-busy': failed('see which other program has the database open'),
  busy: failed('try again in a moment'),
  'valkey-unavailable': failed('see that it runs, and that [valkey] url leads to it'),
  'users-elsewhere': failed(
    'manage users with xe, and end sessions with session.logout_subject_identifier of the XenAPI',
  ),
  'session-unknown': failed('see xengate sessions'),
  'session-ambiguous': failed('give more of its id'),
  'daemon-unreachable': failed('run this as the user that the daemon runs as'),
  'daemon-absent': failed(
    'start it with xengate dev or xengate serve, or say which one is meant by --config FILE or --state DIR (the old one if state-dir was changed since)',
  ),
  'session-needed': {
    exit: EXIT.signIn,
    advice: 'sign in with xengate login URL, or give the id of a session in XENGATE_SESSION',
  },
  'role-needed': { exit: EXIT.signIn, advice: 'xengate login as a user with the role pool-admin' },
  'session-file-unusable': failed('remove it, and sign in with xengate login URL'),
  'session-left': failed('it ends by itself when it is unused; an administrator can end it with xengate session end'),
  'sign-in-refused': {
    exit: EXIT.signIn,
    advice:
      'check both; after many wrong ones even the right one is refused for a while (xengate blocked, on the gateway)',
  },
  'user-missing': { exit: EXIT.usage, advice: 'give --user NAME' },
  'ca-unusable': failed('give --ca a file of certificates in PEM'),
  'certificate-unknown': failed(
    'give --ca FILE, here or to xengate login, with that certificate or that of the authority that signed it',
  ),
  'gateway-unreachable': failed('see that the gateway runs, and that the URL leads to it'),
  'service-name-invalid': {
    exit: EXIT.usage,
    advice: 'give SERVICE[/PATH][?QUERY], such as com.example.backup/images/1',
  },
  'header-invalid': { exit: EXIT.usage, advice: 'write it as "Name: value"' },
  'body-missing': { exit: EXIT.usage, advice: "-T FILE, -T - for standard input, -d DATA, or -d '' for nothing" },
  'file-unreadable': failed('give a file that is there, and that you may read'),
  'call-failed': failed(''),
  'transfer-broken': failed('get it again; X-Request-Id of the answer (-i) names it in the log of the gateway'),
  'url-missing': { exit: EXIT.usage, advice: 'give --url URL' },
  'url-invalid': { exit: EXIT.usage, advice: 'give http://host[:port] or https://host[:port]' },
  'control-failed': failed('see its log'),
  'request-unknown': failed('only the latest are remembered; the log has them all, under requestId'),
  'connection-unknown': failed('see xengate connections'),
  'breaker-closed': failed('see xengate services, and xengate refusals'),
  'not-confirmed': failed(''),
  'front-not-possible': failed('xengate front status; or give Xengate a port of its own, with xengate host open-port'),
  'front-failed': failed('journalctl -u stunnel@xapi -u xengate, and /var/log/secure'),
  'port-reserved': failed('give the listener another port; at port 443 see xengate front'),
  'port-unknown': failed('close it in the way in which it was opened'),
  'firewall-unknown': failed('open the port as this host does it'),
  'firewall-failed': failed('run this as root; see iptables -nL, or firewall-cmd --list-all'),
  'config-secret': failed(''),
  'config-large': failed('keep a copy of it elsewhere'),
  'save-failed': failed('see systemctl status xapi, and save again'),
  'config-there': failed('say --force to write over it'),
  'saved-missing': failed('run xengate host save before the next upgrade'),
  'saved-unreadable': failed('remove the key with xe pool-param-remove, and write the configuration anew'),
  'host-unknown': failed('run this on a XenServer or XCP-ng host'),
  'xapi-unavailable': failed('run this as root on the host; see systemctl status xapi'),
  'root-needed': failed('run this as root'),
  'host-only': { exit: EXIT.usage, advice: 'log in on the host, and run it there without --url' },
  'upgrade-refused': failed('nothing was changed, and the earlier version serves on; see its log and standard error'),
  'drain-refused': failed('xengate status says how it is now'),
  'new-name-invalid': {
    exit: EXIT.usage,
    advice:
      'give 1 to 100 letters, digits, ".", "_" and "-", such as com.example.hello; not "." or "-" first, nor ".channel" last',
  },
  'directory-not-empty': failed('give another with --directory DIR'),
  'directory-unusable': failed('give another with --directory DIR'),
  'plugins-unusable': failed(
    'give --scripts DIR and --directory DIR that are there, and run this as a user who may use both',
  ),
  'reload-refused': failed('nothing was changed; xengate check-config says what is wrong with a configuration'),
}

/** A command cannot do what it was asked. */
export class CliError extends Error {
  override readonly name = 'CliError'
  readonly code: FailureCode
  /** The code that is shown: another one where a gateway or a service has said what is wrong. */
  readonly shownCode: string
  /** Where to read about it; null where nothing is said of that. */
  readonly help: string | null
  /** What to try, where that is not what the catalogue says; null else. */
  readonly advice: string | null

  constructor(
    code: FailureCode,
    message: string,
    options: ErrorOptions & {
      readonly shownCode?: string
      readonly help?: string | null
      readonly advice?: string
    } = {},
  ) {
    super(message, options)
    this.code = code
    this.shownCode = options.shownCode ?? code
    this.help = options.help ?? null
    this.advice = options.advice ?? null
  }
}

/** @param root of the host that is changed; below a directory anybody may. @throws {CliError} `root-needed` */
export function requireRoot(root: string): void {
  if (root === '' && process.getuid?.() !== 0) throw new CliError('root-needed', 'only root may do this on a host')
}

/**
 * Says why a command failed: its code, what happened, and what to try.
 *
 * @returns the exit code. An error that the catalogue does not know is a bug, and shown with its stack.
 */
export function reportFailure(error: unknown, io: Io): number {
  const code = codeOf(error)
  if (code === undefined || !(error instanceof Error)) {
    say(io, `xengate: unexpected error, please report it\n${error instanceof Error ? error.stack : String(error)}`)
    return EXIT.failed
  }
  const { exit, advice: usual } = CATALOGUE[code]
  const advice = error instanceof CliError && error.advice !== null ? error.advice : usual
  // All that is wrong with a configuration is a line each; the last one is the sentence.
  if (code === 'config-invalid') say(io, error.message)
  if ('lines' in error && Array.isArray(error.lines)) for (const line of error.lines) say(io, String(line))
  const sentence = code === 'config-invalid' ? 'the configuration cannot be used' : error.message
  say(io, `xengate: ${sentence} [${error instanceof CliError ? error.shownCode : code}]`)
  if (advice !== '') say(io, `try: ${advice}`)
  if (error instanceof CliError && error.help !== null) say(io, `see: ${error.help}`)
  return exit
}

function codeOf(error: unknown): FailureCode | undefined {
  if (!(error instanceof Error)) return undefined
  if (error.name === 'ListenError') return 'listen-failed'
  const code = 'code' in error ? String(error.code).toLowerCase().replaceAll('_', '-') : ''
  return isFailureCode(code) ? code : undefined
}

function isFailureCode(code: string): code is FailureCode {
  return Object.hasOwn(CATALOGUE, code)
}
