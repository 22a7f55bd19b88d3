// The dashboard: who is signed in, which page is asked for by the part of the address behind `#`, and what all pages know.

import { type JSX, render } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import 'uplot/dist/uPlot.min.css'
import './style.css'
import {
  ApiError,
  forgetSignIn,
  hasSignedIn,
  isGatewayHere,
  read,
  type Service,
  signIn,
  signOut,
  type Status,
  whoAmI,
} from './api.ts'
import { History } from './history.ts'
import { Connections, Events, Overview, type PageProps, Refusals, ServicePage, Sessions } from './pages.tsx'
import { Stale } from './parts.tsx'
import { useWatched } from './watch.ts'

const PAGES: readonly (readonly [path: string, title: string])[] = [
  ['#/', 'Overview'],
  ['#/sessions', 'Sessions'],
  ['#/connections', 'Connections'],
  ['#/refusals', 'Refusals'],
  ['#/events', 'Events'],
]

function App(): JSX.Element {
  const [isHere, setIsHere] = useState(true)
  const [user, setUser] = useState<string | null | undefined>(undefined)
  const [problem, setProblem] = useState('')
  const find = async (): Promise<void> => {
    const hasAnswered = await isGatewayHere()
    setIsHere(hasAnswered)
    if (!hasAnswered) return
    // Whoever comes from a service's page has no session that would do.
    if (cameFor() !== null || !hasSignedIn()) {
      setUser(null)
      return
    }
    try {
      setUser(await whoAmI())
      setProblem('')
    } catch (error) {
      setUser(null)
      if (error instanceof ApiError && error.status !== 403) setProblem(error.message)
    }
  }
  useEffect(() => void find(), [])
  if (!isHere) return <Absent again={find} />
  if (user === undefined) return <p class="empty">…</p>
  if (user === null) return <SignIn problem={problem} done={setUser} />
  return (
    <Board
      user={user}
      lost={() => {
        forgetSignIn()
        void find()
      }}
    />
  )
}

/** Says what to do where the gateway does not answer at the page's own address. */
function Absent({ again }: { readonly again: () => Promise<void> }): JSX.Element {
  const [isBusy, setIsBusy] = useState(false)
  const ask = async (): Promise<void> => {
    setIsBusy(true)
    await again()
    setIsBusy(false)
  }
  return (
    <main class="sign-in">
      <div class="absent">
        <h1>Xengate</h1>
        <p role="alert" class="problem">
          The gateway does not answer at this address.
        </p>
        <p>As root on the host:</p>
        <dl>
          <dt>
            <code>xengate status</code>
          </dt>
          <dd>says whether it runs</dd>
          <dt>
            <code>systemctl start xengate</code>
          </dt>
          <dd>starts it</dd>
          <dt>
            <code>xengate front enable</code>
          </dt>
          <dd>puts it in front of xapi, which has sent this page</dd>
        </dl>
        <p>
          Where it runs and is in front of xapi, its configuration has <code>control.dashboard = false</code>.
        </p>
        <button type="button" disabled={isBusy} onClick={() => void ask()}>
          Try again
        </button>
      </div>
    </main>
  )
}

function SignIn({ problem, done }: { readonly problem: string; readonly done: (user: string) => void }): JSX.Element {
  const [user, setUser] = useState('root')
  const [password, setPassword] = useState('')
  const [said, setSaid] = useState(problem)
  const [isBusy, setIsBusy] = useState(false)
  const send = async (): Promise<void> => {
    setIsBusy(true)
    try {
      await signIn(user, password)
      const target = cameFor()
      if (target === null) done(await administrator())
      else location.replace(target)
    } catch (error) {
      setIsBusy(false)
      setPassword('')
      setSaid(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <main class="sign-in">
      <form
        onSubmit={(event) => {
          event.preventDefault()
          void send()
        }}
      >
        <h1>Xengate</h1>
        <p>Sign in as a XenAPI user{cameFor() === null ? ' with the role pool-admin' : ''}.</p>
        <label>
          User name
          <input
            value={user}
            autocomplete="username"
            required
            onInput={(event) => setUser(event.currentTarget.value)}
          />
        </label>
        <label>
          Password
          <input
            type="password"
            value={password}
            autocomplete="current-password"
            required
            onInput={(event) => setPassword(event.currentTarget.value)}
          />
        </label>
        <button type="submit" disabled={isBusy}>
          Sign in
        </button>
        <p role="alert" class="problem">
          {said}
        </p>
      </form>
    </main>
  )
}

/** Who has signed in. Whoever may not see the dashboard is signed out again. @throws {ApiError} */
async function administrator(): Promise<string> {
  try {
    return await whoAmI()
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 403) throw error
    await signOut().catch(() => undefined)
    forgetSignIn()
    throw new ApiError(403, 'This user may not see the dashboard: it takes the role pool-admin.')
  }
}

/** The page of a service that somebody wanted who had to sign in first; null when nobody did. */
function cameFor(): string | null {
  const target = new URLSearchParams(location.search).get('to')
  return target?.startsWith('/services/plugin/') === true ? target : null
}

interface Known {
  readonly status: Status
  readonly services: readonly Service[]
}

function Board({ user, lost }: { readonly user: string; readonly lost: () => void }): JSX.Element {
  const history = useRef(new History())
  const page = usePage()
  const watched = useWatched<Known>(
    async () => {
      const [status, { services }] = await Promise.all([
        read<Status>('status'),
        read<{ services: Service[] }>('services'),
      ])
      history.current.look(Date.now() / 1000, status, services)
      return { status, services }
    },
    lost,
    'all',
  )
  const leave = async (): Promise<void> => {
    await signOut().catch(() => undefined)
    lost()
  }
  const current = PAGES.findLast(([path]) => page === path || (path !== '#/' && page.startsWith(path)))?.[0] ?? '#/'
  return (
    <>
      <a
        class="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault()
          document.getElementById('content')?.focus()
        }}
      >
        Go to the content
      </a>
      <header>
        <strong>Xengate</strong>
        <nav aria-label="Pages">
          {PAGES.map(([path, title]) => (
            <a href={path} {...(path === current ? { 'aria-current': 'page' as const } : {})}>
              {title}
            </a>
          ))}
        </nav>
        <span class="who">
          {user}{' '}
          <button type="button" onClick={() => void leave()}>
            Sign out
          </button>
        </span>
      </header>
      <main id="content" tabindex={-1}>
        <Stale watched={watched} />
        {watched.value === null ? (
          <p class="empty">Asking the gateway …</p>
        ) : (
          <Page page={page} {...watched.value} history={history.current} lost={lost} />
        )}
      </main>
      {watched.value !== null && (
        <footer>
          Xengate {watched.value.status.version}, Node.js {watched.value.status.node} ·{' '}
          <a href="/xengate/docs/">Documentation</a>
        </footer>
      )}
    </>
  )
}

function Page({ page, ...props }: PageProps & { readonly page: string }): JSX.Element {
  const name = /^#\/services\/(.+)$/.exec(page)?.[1]
  useEffect(() => {
    document.title = name === undefined ? 'Xengate' : `${decodeURIComponent(name)} · Xengate`
  }, [name])
  if (name !== undefined) return <ServicePage key={name} name={decodeURIComponent(name)} {...props} />
  switch (page) {
    case '#/sessions':
      return <Sessions {...props} />
    case '#/connections':
      return <Connections {...props} />
    case '#/refusals':
      return <Refusals {...props} />
    case '#/events':
      return <Events />
    default:
      return <Overview {...props} />
  }
}

/** The part of the address behind `#`, with it. */
function usePage(): string {
  const [page, setPage] = useState(pageNow)
  useEffect(() => {
    const changed = (): void => setPage(pageNow())
    addEventListener('hashchange', changed)
    return () => removeEventListener('hashchange', changed)
  }, [])
  return page
}

function pageNow(): string {
  return location.hash === '' ? '#/' : location.hash
}

const app = document.getElementById('app')
// xapi's web server forbids no frames, as the gateway does: within another page there is nothing to press.
if (app !== null && self === top) render(<App />, app)
