// The custom service that runs plugin scripts of the XenAPI.

/** Its well-known name. */
export const PLUGINS_SERVICE = 'org.xengate.plugins'
