/**
 * Topics in an order other than that of their ids, or only those that match a search. There may be a hundred thousand of
 * them, and their figures change all the time, so nothing is kept sorted. One pass over all of them keeps the few that fit on
 * the page; it runs in slices, between which everything else gets a turn, and passes wait for each other.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { subscribersOf } from './channel.ts'
import { parseEventId } from './event-id.ts'
import type { HostedTopic } from './topic.ts'

export const TOPIC_SORTS = ['id', 'name', 'events', 'bytes', 'subscribers', 'latest'] as const
export type TopicSort = (typeof TOPIC_SORTS)[number]

export interface TopicChoice {
  readonly sort: TopicSort
  readonly isDescending: boolean
  /** Searched for in names, ignoring case, and in ids; undefined: all topics. */
  readonly search: string | undefined
}

/** What a topic is sorted by; undefined: it has no name, and comes after all that have one, in either direction. */
export type SortKey = number | string | undefined

/** Where a page ends: the key of its last topic as it was then, and the topic's id. */
export interface TopicPlace {
  readonly id: string
  readonly key: SortKey
}

export const everyTopic: TopicChoice = { sort: 'id', isDescending: false, search: undefined }

/** The catalogue is in this order anyway. */
export function isPlain({ sort, isDescending, search }: TopicChoice): boolean {
  return sort === 'id' && !isDescending && search === undefined
}

const SLICE_MS = 0.5
/** Topics between two looks at the clock. */
const TOPICS_AT_ONCE = 64
/** Whatever the clock says; a multiple of the above. */
const TOPICS_PER_SLICE_MAX = 2048

interface Found {
  readonly topic: HostedTopic
  readonly key: SortKey
  readonly number: number
}

export class TopicList {
  readonly #topics: () => Iterable<HostedTopic>
  readonly #monotonicMs: () => number
  #busy: Promise<unknown> = Promise.resolve()

  /** `topics` may change during iteration, as a Map's values may. */
  constructor(topics: () => Iterable<HostedTopic>, monotonicMs: () => number) {
    this.#topics = topics
    this.#monotonicMs = monotonicMs
  }

  /** The first `countMax` topics after that place. */
  select(choice: TopicChoice, after: TopicPlace | undefined, countMax: number): Promise<readonly HostedTopic[]> {
    const selected = this.#busy.then(() => this.#pass(choice, after, countMax))
    this.#busy = selected.catch(() => undefined)
    return selected
  }

  async #pass(choice: TopicChoice, after: TopicPlace | undefined, countMax: number): Promise<readonly HostedTopic[]> {
    const { sort, search } = choice
    const sign = choice.isDescending ? -1 : 1
    const isWanted = filterOf(search)
    const startNumber = after === undefined ? 0 : numberOf(after.id)
    const best: Found[] = []
    // In a turn apart from the request's, and from the previous pass.
    await nextTurn()
    let untilMs = this.#monotonicMs() + SLICE_MS
    let inSlice = 0
    // Nothing is allocated for a topic that is not on the page.
    for (const topic of this.#topics()) {
      const mayBeOver = inSlice > 0 && inSlice % TOPICS_AT_ONCE === 0
      if (mayBeOver && (inSlice >= TOPICS_PER_SLICE_MAX || this.#monotonicMs() >= untilMs)) {
        await nextTurn()
        untilMs = this.#monotonicMs() + SLICE_MS
        inSlice = 0
      }
      inSlice += 1
      const key = sortKeyOf(topic, sort)
      const number = topic.isStatic ? numberOf(topic.id) : topic.streamId
      if (after !== undefined && !isBehind(topic, key, number, after, after.key, startNumber, sign)) continue
      const last = best.length === countMax ? best[countMax - 1] : undefined
      if (last !== undefined && isBehind(topic, key, number, last.topic, last.key, last.number, sign)) continue
      if (!isWanted(topic)) continue
      if (last !== undefined) best.pop()
      best.splice(placeIn(best, topic, key, number, sign), 0, { topic, key, number })
    }
    return best.map(({ topic }) => topic)
  }
}

/** What the topic is sorted by now. */
export function sortKeyOf(topic: HostedTopic, sort: TopicSort): SortKey {
  switch (sort) {
    case 'id':
      return 0
    case 'name':
      return topic.name?.toLowerCase()
    case 'subscribers':
      return subscribersOf(topic)
    default:
      return topic[sort]
  }
}

/** Ids of 11 base62 characters sort as their numbers do. Infinity: only the id's text can decide. */
function numberOf(id: string): number {
  return parseEventId(id) ?? Number.POSITIVE_INFINITY
}

/** Whether `one` comes after `other` in a list. `sign` is 1, or -1 for descending order. */
function isBehind(
  one: { readonly id: string },
  key: SortKey,
  number: number,
  other: { readonly id: string },
  otherKey: SortKey,
  otherNumber: number,
  sign: number,
): boolean {
  if (key !== otherKey) {
    if (key === undefined || otherKey === undefined) return key === undefined
    return key > otherKey === sign > 0
  }
  if (number !== otherNumber) return number > otherNumber === sign > 0
  if (number !== Number.POSITIVE_INFINITY) return false
  return one.id !== other.id && one.id > other.id === sign > 0
}

function placeIn(best: readonly Found[], topic: HostedTopic, key: SortKey, number: number, sign: number): number {
  let low = 0
  let high = best.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const other = best[middle]!
    if (isBehind(topic, key, number, other.topic, other.key, other.number, sign)) low = middle + 1
    else high = middle
  }
  return low
}

function filterOf(search: string | undefined): (topic: HostedTopic) => boolean {
  if (search === undefined) return () => true
  const inName = search.toLowerCase()
  const mayBeId = /^[0-9A-Za-z]{1,11}$/.test(search)
  return (topic) => topic.name?.toLowerCase().includes(inName) === true || (mayBeId && topic.id.includes(search))
}
