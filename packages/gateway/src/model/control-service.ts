// The gateway's own service, which every host has: nobody is told of it, or sent to another host for it.

export const CONTROL_SERVICE = 'org.xengate.control'
