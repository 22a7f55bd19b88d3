// Signals, from the first moment of the process: by default SIGHUP and SIGUSR2 end it, and SIGUSR1 makes Node.js open a debugger to
// every local user. This module is loaded before all others, and imports none.

/** Those that a daemon takes; the ones that stop it are taken when there is something to stop. */
const TAKEN = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const

/** One of the signals that a daemon takes. */
export type TakenSignal = (typeof TAKEN)[number]

/** The option by which Node.js itself leaves SIGUSR1 alone, for processes that are started. */
export const WITHOUT_DEBUGGER = '--disable-sigusr1'

const early = new Set<TakenSignal>()
let listener: ((signal: TakenSignal) => void) | null = null

function taken(signal: TakenSignal): void {
  if (listener === null) early.add(signal)
  else listener(signal)
}

/** Holds back what comes from now on. @param isDaemon of other commands only the debugger is of concern */
export function holdSignals(isDaemon: boolean): void {
  for (const signal of isDaemon ? TAKEN : (['SIGUSR1'] as const)) process.on(signal, () => taken(signal))
}

/** Gives signals to `take` from now on, and those that were held back at once, each once. */
export function takeSignals(take: (signal: TakenSignal) => void): void {
  listener = take
  for (const signal of early) take(signal)
  early.clear()
}
