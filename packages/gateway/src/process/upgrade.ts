// The program that is on disk now takes the place of this process, or of another: how the two are joined. See link.ts for what they say.

import type { Config } from '../config/config.ts'
import { version } from '../version.ts'
import { takesOf } from './changes.ts'
import type { Question, Told } from './control/questions.ts'
import { Link, type LinkListener } from './link.ts'
import type { Predecessor } from './predecessor.ts'
import type { SessionBroker } from './session-broker.ts'
import { sockets } from './sockets.ts'
import type { Statistics } from './statistics.ts'
import { type Start, Successor, type SuccessorOptions } from './successor.ts'
import type { WorkerGroups } from './worker-groups.ts'

/** What of a primary is joined. */
export interface Joined {
  readonly broker: SessionBroker
  readonly groups: WorkerGroups
  readonly statistics: Statistics
  readonly links: Set<Link>
  /** Aborts when the daemon stops. */
  readonly stopping: AbortController
  /** To the one whose place this process takes; null: nobody's. */
  readonly predecessor: Link | null
}

/** As much of it as there is when this process is joined with the one whose place it takes. */
type Joining = Omit<Joined, 'predecessor' | 'stopping'>

/** What is heard of workers, and of the process whose place this one takes; set by the primary. */
export interface Heard {
  /** Workers of either have given so many connections. */
  given: (count: number) => void
  /** To the service manager, this process is the daemon now. */
  main: () => void
}

/** Asks the workers of this process, and of all those before it that still finish what they have. */
export async function askAll<Kind extends keyof Told>(
  { groups, predecessor }: Pick<Joined, 'groups' | 'predecessor'>,
  question: Question<Kind>,
): Promise<readonly Told[Kind][]> {
  const [own, earlier] = await Promise.all([groups.ask(question), predecessor?.ask(question) ?? []])
  return [...own, ...earlier]
}

/** Says to a successor what was counted last: nobody has asked. */
const UNASKED = -1

/**
 * Starts a successor beside this process, with the sockets that this one has. Resolves when it serves, or is gone.
 * @param inherited `returnKey`, by which services bring back requests, and xapi's reference of this host
 * @param env variables of its environment beside those of this process
 */
export async function startSuccessor(
  parts: Joined,
  inherited: Pick<SuccessorOptions, 'returnKey' | 'ownHost'>,
  env: Readonly<Record<string, string>>,
): Promise<Start> {
  const { links } = parts
  const successor: Successor = new Successor({
    sockets: sockets.all,
    ...inherited,
    env,
    listener: {
      ...listenerOf(parts, () => successor.link),
      count: async () => {
        await parts.statistics.refresh()
        return parts.statistics.counted
      },
      asked: (question) => askAll(parts, question),
      gone: () => links.delete(successor.link),
    },
    stopping: parts.stopping.signal,
    joined: () => links.add(successor.link),
  })
  return successor.start()
}

/**
 * Joins this process with the one whose place it takes.
 * @param heard told what that one says
 */
export function joinPredecessor(parts: Joining, { channel, pid }: Predecessor, heard: Heard): Link {
  const { links, statistics } = parts
  const link: Link = new Link(channel, pid, {
    ...listenerOf(parts, () => link),
    // What asks is the later one.
    count: () => Promise.resolve([]),
    asked: () => Promise.resolve([]),
    said: (message) => {
      if (message.type === 'counted') statistics.inherit(message.counted)
      else if (message.type === 'given') heard.given(message.count)
      else if (message.type === 'main') heard.main()
    },
    gone: () => {
      links.delete(link)
      statistics.leaveInherited()
    },
  })
  links.add(link)
  statistics.inheritFrom(() => link.counted())
  link.tell({ type: 'joined' })
  return link
}

/** This process serves in place of the other one. */
export function tellServing(link: Link, config: Config): void {
  const { listeners, takesUnderWay } = takesOf(config)
  link.tell({ type: 'serving', version: version(), takes: listeners, takesUnderWay })
}

/** To the service manager, the successor is the daemon now. */
export function tellMain({ links }: Pick<Joined, 'links'>): void {
  for (const link of links) link.tell({ type: 'main' })
}

/** Workers of this process have given so many connections to those of its successor. */
export function tellGiven({ links }: Pick<Joined, 'links'>, count: number): void {
  for (const link of links) link.tell({ type: 'given', count })
}

/** No worker of this process counts any more. */
export function tellLastCounts({ links, statistics }: Pick<Joined, 'links' | 'statistics'>): void {
  const { counted } = statistics
  for (const link of links) link.tell({ type: 'counted', question: UNASKED, counted })
}

/** What is told by the process at the other end of a link is told to all others: there may be three in a row. */
function listenerOf({ broker, groups, links }: Joining, from: () => Link): Pick<LinkListener, 'ended'> {
  return {
    ended: async (uuids) => {
      broker.note(uuids)
      const others = [...links].filter((link) => link !== from())
      await Promise.all([groups.ended(uuids), ...others.map((link) => link.ended(uuids))])
    },
  }
}
