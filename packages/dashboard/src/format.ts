// Numbers and times as they are shown.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

export function bytes(much: number): string {
  let value = much
  let unit = 0
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}

export function count(value: number): string {
  return value.toLocaleString('en')
}

export function rate(value: number | undefined): string {
  if (value === undefined) return '–'
  if (value === 0) return '0/s'
  return value < 10 ? `${value.toFixed(value < 1 ? 2 : 1)}/s` : `${count(Math.round(value))}/s`
}

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–'
  return value < 10 ? `${value.toFixed(2)} ms` : `${count(Math.round(value))} ms`
}

/** How long ago, or how long, in one unit. */
export function age(since: string | null, nowMs: number = Date.now()): string {
  if (since === null) return '–'
  const seconds = Math.max(0, Math.round((nowMs - Date.parse(since)) / 1000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`
}

/** How long it is until then, in one unit. */
export function left(until: string): string {
  const ms = Date.parse(until) - Date.now()
  return ms <= 0 ? 'expired' : age(new Date(Date.now() - ms).toISOString())
}

export function clock(time: string): string {
  return new Date(time).toLocaleTimeString('en-GB')
}
