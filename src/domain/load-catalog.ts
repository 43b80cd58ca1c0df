/**
 * Loads the catalogue at the start: from the newest checkpoint and the log behind it, or from the whole log. Both give the
 * same result, as does a start that has to distrust its checkpoint.
 */

import type { Catalog } from './catalog.ts'
import { CATALOG_STREAM, EntryError } from './entry.ts'
import type { Feed } from './feed.ts'
import type { HubObserver, Offset } from './ports.ts'
import type { Retainer } from './retainer.ts'
import { decodeSnapshot, type SnapshotTopic } from './snapshot.ts'
import type { HostedTopic } from './topic.ts'

/** What a checkpoint contained. */
interface Restored {
  readonly topics: readonly SnapshotTopic[]
  /** Entries above this number are still to be folded. */
  readonly offset: Offset
}

const nothing: Restored = { topics: [], offset: 0 }

/**
 * Fills the empty catalogue. Resolves with whether all of it could be read: if not, there may be topics that are unknown.
 * Nobody may append meanwhile. Throws EntryError where the log holds an entry that this version cannot read, and
 * StorageError where the log cannot be read.
 */
export async function loadCatalog(
  catalog: Catalog,
  feed: Feed,
  retainer: Retainer,
  observer: HubObserver,
): Promise<boolean> {
  const restored = await restore(feed, observer)
  const known = new Map<HostedTopic, Known>()
  for (const { topic, asOf } of restored.topics) {
    catalog.add(topic)
    known.set(topic, { asOf, dropped: topic.dropped })
  }
  const isWhole = await fold(catalog, feed, observer, restored.offset)
  const exactThrough = restored.topics.reduce((highest, { asOf }) => Math.max(highest, asOf), 0)
  await count(catalog, feed, retainer, known, restored.offset, exactThrough)
  return isWhole
}

/** What was known of a topic before the rest was folded. */
interface Known {
  /** Its events are counted up to here. */
  readonly asOf: Offset
  readonly dropped: Offset
}

async function restore(feed: Feed, observer: HubObserver): Promise<Restored> {
  const checkpoint = await feed.log.loadCheckpoint()
  if (checkpoint === undefined) return nothing
  const topics: SnapshotTopic[] = []
  try {
    for await (const piece of checkpoint.chunks()) topics.push(...decodeSnapshot(piece, feed))
    return { topics, offset: checkpoint.offset }
  } catch (error) {
    if (!(error instanceof EntryError)) throw error
    observer.checkpointRefused(error.message)
    return nothing
  }
}

async function fold(catalog: Catalog, feed: Feed, observer: HubObserver, after: Offset): Promise<boolean> {
  const cursor = feed.log.cursor(after, CATALOG_STREAM)
  let isWhole = true
  try {
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
      if ('records' in step) for (const record of step.records) catalog.apply(record, feed)
      else {
        isWhole = false
        observer.catalogDamaged(step.gap)
      }
    }
    return isWhole
  } finally {
    cursor.close()
  }
}

/** Counts what each topic holds, using the log's indexes. */
async function count(
  catalog: Catalog,
  feed: Feed,
  retainer: Retainer,
  known: ReadonlyMap<HostedTopic, Known>,
  after: Offset,
  exactThrough: Offset,
): Promise<void> {
  // Topics whose mark lies inside a range that is counted as a whole, or has moved since it was counted.
  const uncertain = new Set<HostedTopic>()
  for (const [topic, { dropped }] of known) if (topic.dropped > dropped) uncertain.add(topic)
  for await (const items of feed.log.streamTotals(after, exactThrough)) {
    for (const { streamId, count: events, bytes, first, last } of items) {
      const topic = catalog.byStream(streamId)
      if (topic === undefined || last <= (known.get(topic)?.asOf ?? 0)) continue
      topic.latest = Math.max(topic.latest, last)
      if (first > topic.dropped) {
        topic.events += events
        topic.bytes += bytes
      } else if (last > topic.dropped) uncertain.add(topic)
    }
  }
  for (const topic of uncertain) if (catalog.byStream(topic.streamId) === topic) await retainer.recount(topic)
}
