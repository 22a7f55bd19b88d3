# The workers' user. --no-log-init: nothing of the host's logs of sign-ins is touched.
id xengate >/dev/null 2>&1 ||
  useradd --system --user-group --no-create-home --no-log-init --home-dir / --shell /sbin/nologin \
    --comment 'Xengate workers' xengate
