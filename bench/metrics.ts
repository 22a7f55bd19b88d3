// What is measured, and how it is shown.

/** How it is called, in what unit, and how it is shown. */
export interface Metric {
  readonly title: string
  readonly unit: string
  readonly digits: number
}

/** Name of a metric in the results. */
export type MetricName =
  | 'cpuUs'
  | 'requestsPerSecond'
  | 'busy'
  | 'p50Us'
  | 'p99Us'
  | 'offeredRate'
  | 'megabytesPerSecond'
  | 'cpuSecondsPerGib'
  | 'growthMib'
  | 'bytesPerConnection'
  | 'gatewaySecondsPerMillion'
  | 'privateMib'
  | 'connectedMib'
  | 'idlePercent'

/** Every metric. */
export const METRICS: Readonly<Record<MetricName, Metric>> = {
  cpuUs: { title: 'CPU per request', unit: 'µs', digits: 1 },
  requestsPerSecond: { title: 'requests/s', unit: '1/s', digits: 0 },
  p50Us: { title: 'latency, median', unit: 'µs', digits: 0 },
  p99Us: { title: 'latency, p99', unit: 'µs', digits: 0 },
  offeredRate: { title: 'offered rate', unit: '1/s', digits: 0 },
  megabytesPerSecond: { title: 'throughput', unit: 'MB/s', digits: 0 },
  cpuSecondsPerGib: { title: 'CPU per GiB', unit: 's', digits: 2 },
  growthMib: { title: 'memory growth, at most', unit: 'MiB', digits: 1 },
  bytesPerConnection: { title: 'memory per idle connection', unit: 'bytes', digits: 0 },
  gatewaySecondsPerMillion: { title: "the gateway's CPU per 1,000,000 requests", unit: 's', digits: 2 },
  privateMib: { title: 'private memory, idle', unit: 'MiB', digits: 1 },
  connectedMib: { title: 'private memory with 1,000 connections', unit: 'MiB', digits: 1 },
  idlePercent: { title: 'CPU when idle', unit: '% of a core', digits: 2 },
  busy: { title: "the peer's core in use", unit: '%', digits: 0 },
}

/** One measurement of one peer. */
export type Measurement = Partial<Record<MetricName, number>>
