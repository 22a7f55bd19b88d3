// How stunnel comes to ask the gateway first: a drop-in of its unit, and a shell script that derives stunnel's file from the one
// that xapi writes. Both run without the gateway and without Node.js, and when anything is missing or in doubt, stunnel has
// xapi's own file.

import type { Host } from './host.ts'
import { runProgram } from './programs.ts'

/**
 * POSIX sh and awk, for busybox, mawk and gawk. Every option of [xapi] has to be known: what is new there may be about who gets
 * in. `[pool]` has to be there, since without it what hosts of the pool say to each other would come to [xapi].
 */
const SCRIPT = String.raw`#!/bin/sh
# Derives stunnel's file from the one that xapi writes, with Xengate before xapi in section [xapi] alone. Runs at each start and
# reload of stunnel. Where there is any doubt, the derived file is a copy of xapi's own. Written by "xengate front enable", and
# removed by "xengate front disable".

own='@OWN@'
derived='@DERIVED@'
if [ $# -eq 2 ]; then own=$1 derived=$2; fi

umask 077
mkdir -p "$(dirname "$derived")" || exit 1
new="$derived.new"

awk '
  function doubt(why) { if (reason == "") reason = why }
  function trimmed(s) { sub(/^[ \t]+/, "", s); sub(/[ \t\r]+$/, "", s); return s }
  BEGIN {
    split("accept cert key connect ciphers ciphersuites curve curves options sslversion sslversionmin sslversionmax " \
      "securitylevel socket timeoutbusy timeoutclose timeoutconnect timeoutidle debug", names, " ")
    for (i in names) known[names[i]] = 1
    split("redirect verify verifychain verifypeer requirecert cafile capath checkhost checkemail checkip", names, " ")
    for (i in names) client[names[i]] = 1
  }
  { lines[NR] = $0; text = trimmed($0) }
  text == "" || text ~ /^[;#]/ { next }
  text ~ /^\[.*\]$/ { section = text; sections[section]++; next }
  {
    at = index(text, "=")
    if (at == 0) { doubt("line " NR " has no option"); next }
    option = tolower(trimmed(substr(text, 1, at - 1)))
    value = trimmed(substr(text, at + 1))
    count[section, option]++
    last[section, option] = value
    if (option == "include") doubt("line " NR " includes other files")
    if (section != "[xapi]") next
    if (option in client) doubt("clients sign in with certificates (" option " in [xapi])")
    else if (!(option in known)) doubt("the option " option " in [xapi] is not known")
    if (option == "connect") place = NR
  }
  END {
    if (NR == 0) doubt("it is empty")
    if (sections["[xapi]"] != 1) doubt("there is not exactly one section [xapi]")
    if (sections["[pool]"] != 1 || last["[pool]", "sni"] != "xapi:pool")
      doubt("there is no section [pool] for other hosts (sni = xapi:pool)")
    if (count["", "protocol"] != 1 || last["", "protocol"] != "proxy")
      doubt("stunnel does not pass on the addresses of clients (protocol = proxy, before the sections)")
    if (count["[xapi]", "connect"] != 1 || last["[xapi]", "connect"] != "@PORT@")
      doubt("[xapi] has not exactly one line connect = @PORT@")
    if (reason != "") { print reason; exit 1 }
    for (i = 1; i <= NR; i++) {
      if (i == place) print "connect = @SOCKET@\nconnect = @PORT@\nfailover = prio"
      else print lines[i]
    }
  }
' "$own" > "$new"
code=$?
if [ $code -eq 0 ]; then mv -f "$new" "$derived"; exit; fi

reason=$(cat "$new")
[ -n "$reason" ] || reason="awk cannot read $own"
echo "xengate: stunnel gets xapi's own file, and services are not reached through it: $reason" >&2
if cp "$own" "$new"; then mv -f "$new" "$derived"; else rm -f "$new" "$derived"; fi
exit 1
`

const DROP_IN = String.raw`# stunnel asks Xengate first, and xapi when Xengate does not answer. Written by "xengate front enable", and removed by
# "xengate front disable". When a file is missing, stunnel starts with the one that xapi writes.
[Service]
ExecStartPre=-/bin/rm -f @DERIVED@
ExecStartPre=-/bin/sh @SCRIPT@
ExecStart=
ExecStart=/bin/sh -c 'test -s @DERIVED@ && /usr/bin/stunnel @DERIVED@ || exec /usr/bin/stunnel @OWN@'
ExecReload=
ExecReload=-/bin/sh -c '/bin/sh @SCRIPT@ || cp @OWN@ @DERIVED@'
ExecReload=/bin/kill -HUP $MAINPID
`

/** The script for this host. */
export function deriveScript(host: Host): string {
  return filled(SCRIPT, host)
}

/** The drop-in for this host. */
export function dropIn(host: Host): string {
  return filled(DROP_IN, host)
}

function filled(template: string, host: Host): string {
  const values: Readonly<Record<string, string>> = {
    OWN: host.stunnelOwn,
    DERIVED: host.stunnelDerived,
    SCRIPT: host.deriveScript,
    SOCKET: host.frontSocket,
    PORT: String(host.xapiPort),
  }
  return template.replaceAll(/@([A-Z]+)@/g, (whole, name: string) => values[name] ?? whole)
}

/** Derives from `own` into the file `into`, by the same script. @returns why that is in doubt; null when it is not */
export async function derive(
  host: Host,
  own: string,
  into: string,
  env: Readonly<NodeJS.ProcessEnv>,
): Promise<string | null> {
  const { code, stderr } = await runProgram('/bin/sh', ['-c', deriveScript(host), 'derive', own, into], { env })
  if (code === 0) return null
  const [, reason = stderr.trim()] = /^xengate: .*?: (.*)$/m.exec(stderr) ?? []
  return reason
}
