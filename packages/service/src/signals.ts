// SIGTERM and SIGINT: the first ends all services of the process politely and then the process, a second one ends it at once.

/** What a signal ends. */
export interface Stoppable {
  close(): Promise<void>
  destroy(): void
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const
const running = new Set<Stoppable>()
let isStopping = false

/** Ends `service` at a signal. */
export function stopAtSignals(service: Stoppable): void {
  if (running.size === 0) for (const signal of SIGNALS) process.on(signal, stop)
  running.add(service)
}

/** To be called when `service` has ended; with the last one, signals are the process's own again. */
export function forgetSignals(service: Stoppable): void {
  if (!running.delete(service) || running.size > 0) return
  for (const signal of SIGNALS) process.off(signal, stop)
  const wasStopping = isStopping
  // A service that is started from here on has not been asked to stop.
  isStopping = false
  // Whoever else listens for signals decides when the process ends.
  if (wasStopping && SIGNALS.every((signal) => process.listenerCount(signal) === 0)) process.exit()
}

function stop(): void {
  if (isStopping) {
    for (const service of running) service.destroy()
    process.exit(1)
  }
  isStopping = true
  for (const service of running) void service.close()
}
