#!/bin/sh
# Does for stunnel@xapi what systemd does, below the directory ROOT: the unit and its drop-ins count as they were at the last
# daemon-reload, an empty line of a key takes back those before it, and "-" before a command makes its failure none.
# What it keeps is in the directory STATE, by default ROOT: systemctl.log has every call, journal what the commands said.
state=${STATE:-$ROOT}
echo "$*" >> "$state/systemctl.log"
unit=$state/unit
pid() { cat "$state/stunnel.pid" 2>/dev/null; }
lines() {
  awk -v key="$1=" 'index($0, key) == 1 { v = substr($0, length(key) + 1); if (v == "") n = 0; else l[++n] = v }
    END { for (i = 1; i <= n; i++) print l[i] }' "$unit"
}
execute() {
  lines "$1" | while IFS= read -r line; do
    case $line in
      -*) sh -c "${line#-}" >> "$state/journal" 2>&1 || true ;;
      *) sh -c "$line" >> "$state/journal" 2>&1 || exit 1 ;;
    esac
  done
}
# A process that has ended may stay a zombie for long, where the first process of the system is slow to ask for it.
runs() { grep -qs '^State:.[^Z]' "/proc/$1/status"; }
stop() {
  running=$(pid) || return 0
  kill "$running" 2>/dev/null
  while runs "$running"; do sleep 0.02; done
  rm -f "$state/stunnel.pid"
}
case $1 in
  daemon-reload)
    if [ -e "$state/no-reload" ]; then echo "Failed to reload daemon: Connection timed out" >&2; exit 1; fi
    cat "$ROOT/usr/lib/systemd/system/stunnel@.service" "$ROOT"/etc/systemd/system/stunnel@xapi.service.d/*.conf > "$unit" 2>/dev/null
    exit 0 ;;
  restart)
    stop
    if [ -e "$state/no-start" ]; then echo "Job for stunnel@xapi.service failed." >&2; exit 1; fi
    execute ExecStartPre
    execute ExecStart || exit 1
    # stunnel goes to the background before it writes the file: without it, a stop that follows at once would miss it.
    tries=0
    until pid > /dev/null || [ "$tries" -ge 500 ]; do
      sleep 0.02
      tries=$((tries + 1))
    done ;;
  stop) stop ;;
  reload) MAINPID=$(pid) execute ExecReload ;;
  show) echo "MainPID=$(pid || echo 0)" ;;
  *) echo "Unknown operation $1." >&2; exit 1 ;;
esac
