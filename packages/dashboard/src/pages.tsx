// The pages. Each is told what is known, and asks for the rest itself.

import type { JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import {
  closeBreaker,
  type Connection,
  end,
  listen,
  type LogEvent,
  type Overload,
  read,
  type Refusal,
  type Service,
  type Session,
  type Status,
  type TriedAnswer,
  tryService,
} from './api.ts'
import { age, bytes, clock, count, left, milliseconds, rate } from './format.ts'
import type { History, Series } from './history.ts'
import { Chart, type Column, EndButton, Sparkline, Stale, Table } from './parts.tsx'
import { useWatched } from './watch.ts'

/** What every page has. */
export interface PageProps {
  readonly status: Status
  readonly services: readonly Service[]
  readonly history: History
  /** There is no session any more. */
  readonly lost: () => void
}

const requestsOf = (series: Series): readonly (number | null)[] => series.requests
const errorsOf = (series: Series): readonly (number | null)[] => series.errors
const latencyOf = (series: Series): readonly (number | null)[] => series.latencyMs

function Charts({ series }: { readonly series: Series }): JSX.Element {
  return (
    <div class="charts">
      <Chart title="Requests" series={series} pick={requestsOf} show={rate} />
      <Chart title="Errors" series={series} pick={errorsOf} show={rate} />
      <Chart title="Time to the first byte" series={series} pick={latencyOf} show={milliseconds} />
    </div>
  )
}

/** A number with what it counts. */
function Fact({
  name,
  value,
  note,
}: {
  readonly name: string
  readonly value: string
  readonly note?: string
}): JSX.Element {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>
        {value} {note !== undefined && <small>{note}</small>}
      </dd>
    </div>
  )
}

function stateOf({ accepts, hosts, breakerOpen = 0 }: Service): { readonly text: string; readonly kind: string } {
  if (hosts !== undefined) return { text: `on ${hosts.join(', ')}`, kind: 'elsewhere' }
  if (breakerOpen > 0) return { text: 'breaker open', kind: 'bad' }
  return accepts === true ? { text: 'running', kind: 'good' } : { text: 'down', kind: 'bad' }
}

export function ServiceState({ service }: { readonly service: Service }): JSX.Element {
  const { text, kind } = stateOf(service)
  return <span class={`state ${kind}`}>{text}</span>
}

/** What workers do against overload, and what would be changed. */
function OverloadNote({ overload }: { readonly overload: Overload }): JSX.Element {
  return (
    <div role="status">
      {overload.workers.map(({ pid, stage, means, resource, used, limit, key }) => (
        <p class="stale" key={pid}>
          Overload, stage {stage} of 4 in worker {pid}: {means}. {resource} {count(Math.round(used))} of {count(limit)};
          for more, change {key}.
        </p>
      ))}
    </div>
  )
}

export function Overview({ status, services, history }: PageProps): JSX.Element {
  const columns: readonly Column<Service>[] = [
    {
      title: 'Service',
      by: ({ name }) => name,
      cell: ({ name }) => <a href={`#/services/${encodeURIComponent(name)}`}>{name}</a>,
    },
    { title: 'State', by: (service) => stateOf(service).text, cell: (service) => <ServiceState service={service} /> },
    {
      title: 'Requests',
      isNumber: true,
      by: ({ requests = 0 }) => requests,
      cell: ({ requests }) => (requests === undefined ? '–' : count(requests)),
    },
    {
      title: 'Rate',
      isNumber: true,
      isExtra: true,
      by: ({ name }) => history.of(name).requests.at(-1) ?? 0,
      cell: ({ name }) => <Trend values={history.of(name).requests} show={rate} />,
    },
    {
      title: 'Errors',
      isNumber: true,
      by: ({ errors = 0 }) => errors,
      cell: ({ errors }) => (errors === undefined ? '–' : count(errors)),
    },
    {
      title: 'First byte',
      isNumber: true,
      isExtra: true,
      by: ({ name }) => history.of(name).latencyMs.at(-1) ?? 0,
      cell: ({ name }) => <Trend values={history.of(name).latencyMs} show={milliseconds} />,
    },
  ]
  const { workers, authority, memoryBytes, transport } = status
  return (
    <>
      <h1>Overview</h1>
      <OverloadNote overload={status.overload} />
      {status.outOfService && (
        <p class="stale" role="status">
          Out of service: <code>xengate drain --undo</code> on the host puts it in service again.
        </p>
      )}
      <dl class="facts">
        <Fact name="Requests" value={count(status.requests)} note={`in ${age(status.since)}`} />
        <Fact name="Refused" value={count(status.refusals)} />
        <Fact name="Errors" value={count(status.errors)} />
        <Fact name="Workers" value={`${workers.ready} of ${workers.wanted}`} note={transport?.name ?? ''} />
        <Fact name="Authority" value={authority.kind} note={authority.isHeard ? '' : 'does not answer'} />
        {status.certificates.map(({ listener, until }) => (
          <Fact key={listener} name="Certificate valid for" value={left(until)} note={listener} />
        ))}
        <Fact name="Memory" value={bytes(memoryBytes.primary + memoryBytes.workers)} />
      </dl>
      <Charts series={history.all} />
      <h2>Services</h2>
      <Table
        label="services"
        rows={services}
        columns={columns}
        keyOf={(service) => `${service.name} ${service.hosts === undefined}`}
        textOf={(service) => `${service.name} ${stateOf(service).text}`}
        empty="No service has a socket here. See docs/services.md."
      />
      {status.warnings.length > 0 && (
        <>
          <h2>Warnings</h2>
          <ul class="plain">
            {status.warnings.map(({ event, count: times, last }) => (
              <li key={event}>
                <code>{event}</code> {count(times)} ×, {age(last)} ago
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  )
}

/** A line and its last value. */
function Trend({
  values,
  show,
}: {
  readonly values: readonly (number | null)[]
  readonly show: (value: number) => string
}): JSX.Element {
  const last = values.findLast((value) => value !== null) ?? undefined
  return (
    <span class="trend">
      <Sparkline values={values} /> {last === undefined ? '–' : show(last)}
    </span>
  )
}

export function ServicePage({ name, services, history, lost }: PageProps & { readonly name: string }): JSX.Element {
  const refusals = useWatched(() => read<{ refusals: Refusal[] }>('refusals'), lost, 'refusals')
  const here = services.find((service) => service.name === name)
  const elsewhere = services.filter((service) => service.name === name && service.hosts !== undefined)
  const own = refusals.value?.refusals.filter(({ service }) => service === name) ?? []
  const url = `${location.origin}/services/plugin/${name}/`
  return (
    <>
      <p>
        <a href="#/">All services</a>
      </p>
      <h1>{name}</h1>
      <Stale watched={refusals} />
      {here === undefined ? (
        <p>No service of this name has a socket here.</p>
      ) : (
        <dl class="facts">
          <div class="fact">
            <dt>State</dt>
            <dd>
              <ServiceState service={here} />
            </dd>
          </div>
          <Fact name="Requests" value={count(here.requests ?? 0)} />
          <Fact name="Refused" value={count(here.refusals ?? 0)} />
          <Fact name="Errors" value={count(here.errors ?? 0)} />
          <Fact name="Under way" value={count(here.inFlight ?? 0)} />
          <Fact name="Waiting" value={count(here.queued ?? 0)} />
          <Fact name="Time to the first byte (mean)" value={milliseconds(here.latencyMs)} />
          <Fact name="Socket" value={here.socket ?? '–'} />
        </dl>
      )}
      {(here?.breakerOpen ?? 0) > 0 && (
        <p class="stale">
          The service has failed again and again: its circuit breaker is open, and requests get 503.{' '}
          <EndButton what={name} label="Close the breaker" act={() => closeBreaker(name)} />
        </p>
      )}
      {elsewhere.length > 0 && <p>Also on {elsewhere.flatMap(({ hosts = [] }) => hosts).join(', ')}.</p>}
      <Charts series={history.of(name)} />
      <h2>Call it</h2>
      <pre tabindex={0}>
        {`xengate login ${location.origin}\n`}
        {`xengate get ${name}\n`}
        {`curl -b session_id="$SESSION" '${url}'    # with a session of session.login_with_password`}
      </pre>
      <TryIt name={name} />
      <h2>Refusals</h2>
      <RefusalTable refusals={own} />
    </>
  )
}

function TryIt({ name }: { readonly name: string }): JSX.Element {
  const [method, setMethod] = useState('GET')
  const [path, setPath] = useState('/')
  const [body, setBody] = useState('')
  const [answer, setAnswer] = useState<TriedAnswer | null>(null)
  const [problem, setProblem] = useState('')
  const [sending, setSending] = useState<AbortController | null>(null)
  // Whoever leaves the page waits for nothing.
  useEffect(() => () => sending?.abort(), [sending])
  const send = async (): Promise<void> => {
    const stop = new AbortController()
    setSending(stop)
    setProblem('')
    setAnswer(null)
    try {
      await tryService(name, method, path, body, stop.signal, setAnswer)
    } catch (error) {
      if (!stop.signal.aborted) setProblem(error instanceof Error ? error.message : String(error))
    }
    setSending(null)
  }
  return (
    <form
      class="try"
      onSubmit={(event) => {
        event.preventDefault()
        void send()
      }}
    >
      <h2>Try it</h2>
      <div class="row">
        <label>
          Method
          <select value={method} onChange={(event) => setMethod(event.currentTarget.value)}>
            <option>GET</option>
            <option>PUT</option>
            <option>POST</option>
          </select>
        </label>
        <label class="grow">
          Path and query
          <input value={path} onInput={(event) => setPath(event.currentTarget.value)} spellcheck={false} />
        </label>
        {sending === null ? (
          <button type="submit">Send</button>
        ) : (
          <button type="button" onClick={() => sending.abort()}>
            Stop
          </button>
        )}
      </div>
      {method !== 'GET' && (
        <label>
          Body
          <textarea rows={4} value={body} onInput={(event) => setBody(event.currentTarget.value)} />
        </label>
      )}
      <div aria-live="polite">
        {problem !== '' && <p class="stale">{problem}</p>}
        {answer !== null && (
          <>
            <p>
              Answered in {milliseconds(answer.ms)}
              {sending === null ? '.' : '; more is coming.'}
            </p>
            <pre tabindex={0}>{`${answer.head}\n\n${answer.body}`}</pre>
          </>
        )}
      </div>
    </form>
  )
}

export function Sessions({ lost }: PageProps): JSX.Element {
  const watched = useWatched(() => read<{ sessions: Session[]; count: number }>('sessions'), lost, 'sessions')
  const columns: readonly Column<Session>[] = [
    { title: 'User', by: ({ user }) => user, cell: ({ user }) => user },
    { title: 'Roles', isExtra: true, cell: ({ roles }) => roles.join(', ') },
    {
      title: 'Originator',
      isExtra: true,
      by: ({ originator }) => originator,
      cell: ({ originator }) => originator || '–',
    },
    { title: 'Address', by: ({ address }) => address ?? '', cell: ({ address }) => address || '–' },
    { title: 'Signed in', isExtra: true, by: ({ since }) => since ?? '', cell: ({ since }) => `${age(since)} ago` },
    { title: 'ID', isExtra: true, by: ({ id }) => id, cell: ({ id }) => <code>{id}</code> },
    { title: 'Idle', by: ({ lastActive }) => lastActive, cell: ({ lastActive }) => age(lastActive) },
    {
      title: 'Under way',
      cell: ({ under }) =>
        Object.entries(under)
          .filter(([, many]) => many > 0)
          .map(([what, many]) => `${many} ${many === 1 ? what.slice(0, -1) : what}`)
          .join(', ') || '–',
    },
    {
      title: '',
      cell: ({ id, user }) => (
        <EndButton what={`the session of ${user}`} act={() => end('sessions', id).then(watched.again)} />
      ),
    },
  ]
  const { sessions, count: total } = watched.value ?? { sessions: [], count: 0 }
  return (
    <>
      <h1>Sessions</h1>
      <Stale watched={watched} />
      <Table
        label="sessions"
        rows={sessions}
        columns={columns}
        keyOf={({ id }) => id}
        textOf={({ id, user, originator, address, roles }) =>
          `${id} ${user} ${originator} ${address ?? ''} ${roles.join(' ')}`
        }
        empty="Nobody is signed in."
      />
      {total > sessions.length && (
        <p>
          These are the {count(sessions.length)} sessions that were used last, of {count(total)}.
        </p>
      )}
    </>
  )
}

export function Connections({ lost }: PageProps): JSX.Element {
  const watched = useWatched(() => read<{ connections: Connection[] }>('connections'), lost, 'connections')
  const columns: readonly Column<Connection>[] = [
    {
      title: 'Client',
      isLong: true,
      by: ({ client }) => client,
      cell: ({ client, port }) => (client === '' ? 'local' : `${client}:${port}`),
    },
    { title: 'State', by: ({ state }) => state, cell: ({ state }) => state },
    {
      title: 'User',
      isExtra: true,
      by: ({ request }) => request?.user ?? '',
      cell: ({ request }) => request?.user ?? '–',
    },
    {
      title: 'Service',
      isLong: true,
      by: ({ request }) => request?.service ?? '',
      cell: ({ request }) => request?.service ?? '–',
    },
    {
      title: 'Request',
      isExtra: true,
      isLong: true,
      cell: ({ request }) => (request === null ? '–' : `${request.method} ${request.path}`),
    },
    {
      title: 'In, out',
      isNumber: true,
      isExtra: true,
      by: ({ request }) => (request === null ? 0 : request.bytesIn + request.bytesOut),
      cell: ({ request }) => (request === null ? '–' : `${bytes(request.bytesIn)}, ${bytes(request.bytesOut)}`),
    },
    { title: 'Age', isExtra: true, by: ({ since }) => since, cell: ({ since }) => age(since) },
    {
      title: '',
      cell: ({ id, client }) => (
        <EndButton what={`the connection of ${client}`} act={() => end('connections', id).then(watched.again)} />
      ),
    },
  ]
  return (
    <>
      <h1>Connections</h1>
      <Stale watched={watched} />
      <Table
        label="connections"
        rows={watched.value?.connections ?? []}
        columns={columns}
        keyOf={({ id }) => id}
        textOf={({ client, state, request }) =>
          `${client} ${state} ${request?.service ?? ''} ${request?.user ?? ''} ${request?.path ?? ''}`
        }
        empty="Nobody is connected."
      />
    </>
  )
}

function RefusalTable({ refusals }: { readonly refusals: readonly Refusal[] }): JSX.Element {
  const columns: readonly Column<Refusal>[] = [
    { title: 'Time', by: ({ time }) => time, cell: ({ time }) => clock(time) },
    { title: 'Status', by: ({ status }) => status, cell: ({ status }) => (status === 0 ? '–' : status) },
    { title: 'Client', isExtra: true, by: ({ client }) => client, cell: ({ client }) => client || '–' },
    { title: 'User', isExtra: true, by: ({ user }) => user ?? '', cell: ({ user }) => user ?? '–' },
    { title: 'Request', isLong: true, cell: ({ method, path }) => (method === null ? '–' : `${method} ${path ?? ''}`) },
    {
      title: 'Reason',
      isLong: true,
      by: ({ reason }) => reason ?? '',
      cell: ({ reason, explanation, by, phase }) => (
        <>
          {reason === null ? (
            '–'
          ) : (
            <a href={`/xengate/docs/answers/${reason}.html`}>
              <code>{reason}</code>
            </a>
          )}{' '}
          {explanation}{' '}
          {by !== null && (
            <small>
              by the {by}, {phase}
            </small>
          )}
        </>
      ),
    },
    { title: 'Request ID', isExtra: true, cell: ({ requestId }) => <code>{requestId}</code> },
  ]
  return (
    <Table
      label="refusals"
      rows={refusals}
      columns={columns}
      keyOf={({ requestId, time }) => `${requestId} ${time}`}
      textOf={({ client, user, service, path, reason, status, requestId }) =>
        `${client} ${user ?? ''} ${service ?? ''} ${path ?? ''} ${reason ?? ''} ${status} ${requestId}`
      }
      empty="Nothing was refused, and nothing failed."
    />
  )
}

export function Refusals({ lost }: PageProps): JSX.Element {
  const watched = useWatched(() => read<{ refusals: Refusal[] }>('refusals'), lost, 'refusals')
  return (
    <>
      <h1>Refusals</h1>
      <p>The latest requests that were refused or failed.</p>
      <Stale watched={watched} />
      <RefusalTable refusals={watched.value?.refusals ?? []} />
    </>
  )
}

const EVENTS_MAX = 500
const CONTROL_SERVICE = 'org.xengate.control'
const TOLD_ELSEWHERE: ReadonlySet<string> = new Set(['level', 'time', 'event', 'pid'])

export function Events(): JSX.Element {
  const [events, setEvents] = useState<readonly (LogEvent & { readonly key: number })[]>([])
  const [isBroken, setIsBroken] = useState(false)
  const [isHeld, setIsHeld] = useState(false)
  useEffect(() => {
    if (isHeld) return undefined
    const stop = new AbortController()
    let number = Date.now()
    listen(
      (event) => {
        // What this page asks for itself is no news.
        if (event['service'] !== CONTROL_SERVICE)
          setEvents((before) => [{ ...event, key: number++ }, ...before].slice(0, EVENTS_MAX))
      },
      setIsBroken,
      stop.signal,
    )
    return () => stop.abort()
  }, [isHeld])
  const columns: readonly Column<LogEvent & { readonly key: number }>[] = [
    { title: 'Time', cell: ({ time }) => clock(time) },
    { title: 'Level', cell: ({ level }) => <span class={`level ${level}`}>{level}</span> },
    { title: 'Event', cell: ({ event }) => <code>{event}</code> },
    {
      title: 'What',
      isLong: true,
      cell: (event) =>
        Object.entries(event)
          .filter(([name, value]) => !TOLD_ELSEWHERE.has(name) && name !== 'key' && value !== null)
          .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
          .join(' · '),
    },
  ]
  return (
    <>
      <h1>Events</h1>
      {isBroken && (
        <p class="stale" role="alert">
          The gateway does not tell of its events now. Trying again.
        </p>
      )}
      <p>
        <button type="button" onClick={() => setIsHeld(!isHeld)}>
          {isHeld ? 'Resume' : 'Pause'}
        </button>
      </p>
      <Table
        label="events"
        rows={events}
        columns={columns}
        keyOf={({ key }) => String(key)}
        textOf={(event) => JSON.stringify(event)}
        empty="Nothing has happened since the page was opened."
      />
    </>
  )
}
