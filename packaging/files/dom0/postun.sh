# $1 is 0 when the package is gone, 1 when another version of it is there.
if command -v systemctl >/dev/null 2>&1; then
  systemctl daemon-reload || :
  if [ "$1" -ge 1 ]; then systemctl try-restart xengate.service xengate-plugins.service || :; fi
fi
if [ "$1" -eq 0 ]; then
  # An administrator made the configuration and, with the embedded authority, the users: rpm keeps the one, when it was edited, as
  # .rpmsave, and here so are the others, beside it. Nothing else stays.
  for suffix in '' -wal; do
    if [ -e "/var/lib/xengate/xengate.db$suffix" ]; then
      mkdir -p /etc/xengate
      mv -f "/var/lib/xengate/xengate.db$suffix" "/etc/xengate/xengate.db.rpmsave$suffix"
    fi
  done
  rm -rf /var/lib/xengate /run/xengate /run/xengate-front
  # A daemon that was killed leaves it.
  rm -f /dev/shm/metrics/xengate
  # The group's number may be given to another.
  if [ -d /etc/xengate ]; then chown -R 0:0 /etc/xengate; chmod 0700 /etc/xengate; fi
  userdel xengate >/dev/null 2>&1 || :
fi
