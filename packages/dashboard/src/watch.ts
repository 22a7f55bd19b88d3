// Asks again and again, as long as somebody looks.

import { useEffect, useState } from 'preact/hooks'
import { ApiError } from './api.ts'

const EVERY_MS = 2000

/** What was told last, and since when nothing new has come. */
export interface Watched<T> {
  readonly value: T | null
  /** Null while answers come. */
  readonly staleSince: number | null
  readonly problem: string
  readonly again: () => void
}

/**
 * @param ask is called each two seconds while the page is seen
 * @param lost told that there is no session any more
 */
export function useWatched<T>(ask: () => Promise<T>, lost: () => void, key: string): Watched<T> {
  const [value, setValue] = useState<T | null>(null)
  const [staleSince, setStaleSince] = useState<number | null>(null)
  const [problem, setProblem] = useState('')
  const [round, setRound] = useState(0)
  useEffect(() => {
    let isOver = false
    let timer = 0
    const look = async (): Promise<void> => {
      try {
        const told = await ask()
        if (isOver) return
        setValue(told)
        setStaleSince(null)
        setProblem('')
      } catch (error) {
        if (isOver) return
        if (error instanceof ApiError && error.status === 403) {
          lost()
          return
        }
        setStaleSince((since) => since ?? Date.now())
        setProblem(error instanceof Error ? error.message : String(error))
      }
      timer = setTimeout(next, EVERY_MS)
    }
    // A page that nobody sees asks nothing.
    const next = (): void => {
      if (document.hidden) document.addEventListener('visibilitychange', next, { once: true })
      else void look()
    }
    void look()
    return () => {
      isOver = true
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', next)
    }
  }, [key, round])
  return { value, staleSince, problem, again: () => setRound((before) => before + 1) }
}
