# $1 is 0 when the package goes, 1 when another version of it follows.
if [ "$1" -eq 0 ]; then
  # While the command is there, and before the service stops: clients go on at xapi's own port.
  /opt/xengate/bin/xengate front disable --yes >/dev/null 2>&1 || :
  /opt/xengate/bin/xengate host close-port --all >/dev/null 2>&1 || :
  if command -v systemctl >/dev/null 2>&1; then
    # Two commands: version 219 has no "disable --now".
    systemctl stop xengate.service || :
    systemctl disable xengate.service >/dev/null 2>&1 || :
  fi
fi
