/** Which entries of the catalogue a compaction may leave out. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Catalog } from '../../src/domain/catalog.ts'
import { compactionJudge } from '../../src/domain/compaction-judge.ts'
import { Feed } from '../../src/domain/feed.ts'
import { Retainer } from '../../src/domain/retainer.ts'
import { changed, created, deleted, dropped, entry, issued, revoked } from '../support/catalog-entries.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { fakeWorld } from '../support/hub-worlds.ts'

test('of the catalogue is needed what later entries have not made needless, here or elsewhere', async () => {
  const feed = new Feed(fakeWorld().durable, true, 0)
  const catalog = new Catalog()
  const entries = [
    created(100),
    changed(110, 100, 'first'),
    changed(120, 100, 'second'),
    dropped(130, 100, 125),
    dropped(140, 100, 135),
    issued(150, 100),
    issued(160, 100),
    revoked(170, 100, 150),
    created(200),
    changed(210, 200, 'gone'),
    dropped(220, 200, 215),
    issued(230, 200),
    issued(240, 200),
    revoked(250, 200, 230),
    deleted(260, 200),
    entry(300, 77, new Uint8Array(3)),
  ]
  for (const each of entries) catalog.apply(each, feed)
  const nothing = { floor: async () => 0 }
  const judge = compactionJudge(catalog, new Retainer(catalog, new FakeClock(), () => undefined), nothing, nothing)
  const needed = async (elsewhere: readonly number[]) => {
    const answers = await Promise.all(
      entries.map((each) => judge.isNeeded(each, async (offset) => elsewhere.includes(offset))),
    )
    return entries.filter((_, i) => answers[i]).map(({ offset }) => offset)
  }
  const standing = [100, 120, 140, 160, 300]
  assert.deepEqual(await needed([]), standing)
  // What an entry takes back may be in a segment that stays as it is.
  assert.deepEqual(await needed([150, 200, 230]), [100, 120, 140, 160, 170, 260, 300])
})
