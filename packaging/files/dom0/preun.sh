# $1 is 0 when the package goes, 1 when another version of it follows.
if [ "$1" -eq 0 ]; then
  # While the command is there, and before the service stops: stunnel goes back to xapi alone, and ports that were opened are closed.
  front=/etc/systemd/system/stunnel@xapi.service.d/50-xengate-front.conf
  # The one is there when the front is on, the other also when it was not switched off all the way.
  if { [ -e "$front" ] || [ -e /run/xengate-front ]; } && ! /opt/xengate/bin/xengate front disable; then
    rm -f "$front" /etc/xengate/stunnel-front.sh
  fi
  if [ -e /var/lib/xengate/opened-ports.json ]; then
    /opt/xengate/bin/xengate host close-port --all || :
  fi
  if command -v systemctl >/dev/null 2>&1; then
    # Two commands: version 219 has no "disable --now".
    for unit in xengate.service xengate-plugins.service; do
      systemctl stop "$unit" || :
      systemctl disable "$unit" >/dev/null 2>&1 || :
    done
  fi
fi
