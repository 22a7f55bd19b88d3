// Where things are on a XenServer or XCP-ng host.

/** The host that commands work on: this one, or one below a directory in tests. */
export interface Host {
  /** Before every path; empty for this host. */
  readonly root: string
  /** The port at which xapi takes plain HTTP, a constant of xapi's. */
  readonly xapiPort: number
  /** stunnel's configuration as xapi writes it, and as it is derived from that. */
  readonly stunnelOwn: string
  readonly stunnelDerived: string
  /** What derives it, and what has stunnel start with it. */
  readonly deriveScript: string
  readonly dropIn: string
  /** Where stunnel finds the gateway. */
  readonly frontSocket: string
  readonly config: string
  /** Which ports were opened: it must be found even when the configuration is not valid, and so is at no configured place. */
  readonly openedPorts: string
  readonly firewallPlugin: string
  readonly osRelease: string
  readonly inventory: string
  /** The directory of services that is looked at when no configuration names any. */
  readonly pluginDirectory: string
  readonly xapiSocket: string
}

const XAPI_PORT = 80

/** The host whose file system begins at `root`; empty for this one. */
export function hostAt(root: string, xapiPort: number = XAPI_PORT): Host {
  return {
    root,
    xapiPort,
    stunnelOwn: `${root}/etc/stunnel/xapi.conf`,
    // Not in /run/xengate, which systemd removes when the gateway stops.
    stunnelDerived: `${root}/run/xengate-front/xapi.conf`,
    deriveScript: `${root}/etc/xengate/stunnel-front.sh`,
    // xapi's own drop-ins begin with 10 and 11.
    dropIn: `${root}/etc/systemd/system/stunnel@xapi.service.d/50-xengate-front.conf`,
    frontSocket: `${root}/run/xengate/front.sock`,
    config: `${root}/etc/xengate/xengate.toml`,
    openedPorts: `${root}/var/lib/xengate/opened-ports.json`,
    firewallPlugin: `${root}/etc/xapi.d/plugins/firewall-port`,
    osRelease: `${root}/etc/os-release`,
    inventory: `${root}/etc/xensource-inventory`,
    pluginDirectory: `${root}/var/xapi/plugin`,
    xapiSocket: `${root}/var/lib/xcp/xapi`,
  }
}

/** The user that handles clients' bytes, and that services' sockets have to let in. */
export const WORKER_USER = 'xengate'

/** stunnel's unit, which ends TLS for xapi. */
export const STUNNEL_UNIT = 'stunnel@xapi'
