// Metrics as Prometheus reads them.

import { exchange } from './raw.ts'

/** One line of an exposition. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** All samples of a text. @throws where a line is none, or has no HELP and TYPE before it */
export function parseExposition(text: string): Sample[] {
  const types = new Map<string, string>()
  const samples: Sample[] = []
  for (const line of text.trimEnd().split('\n')) {
    const [, typed, type = ''] = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line) ?? []
    if (typed !== undefined) types.set(typed, type)
    if (line.startsWith('# ')) continue
    const [, name = '', pairs = '', value = ''] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    const family = name.replace(/_(?:bucket|sum|count)$/, '')
    if (!types.has(name) && types.get(family) !== 'histogram') throw new Error(`no TYPE before: ${line}`)
    const labels = Object.fromEntries(
      [...pairs.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = '', text2 = '']) => [label, text2]),
    )
    samples.push({ name, labels, value: Number(value) })
  }
  return samples
}

/** What is read at `url`, the listener of a daemon's metrics. */
export class Scrape {
  readonly samples: readonly Sample[]

  constructor(samples: readonly Sample[]) {
    this.samples = samples
  }

  static async of(url: string): Promise<Scrape> {
    const response = await exchange(url, 'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    if (response.status !== 200) throw new Error(`GET /metrics: ${response.head}`)
    return new Scrape(parseExposition(response.text))
  }

  /** The sum of the samples of `name` that have these labels. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.samples
      .filter(
        (sample) => sample.name === name && Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
      )
      .reduce((sum, { value }) => sum + value, 0)
  }

  /** Names and labels of all samples. */
  get series(): ReadonlySet<string> {
    return new Set(this.samples.map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`))
  }
}
