/** A disk that is full to the last byte takes what makes room, and what closes doors; and nothing else. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { eventOf, openHub } from '../support/hub-events.ts'
import { realWorld } from '../support/hub-worlds.ts'

test('on a full disk topics are emptied, changed and deleted, and tokens revoked, by the room that is kept for it', async () => {
  const files = new FaultyFiles()
  const world = await realWorld(undefined, files, Date.now, { segmentBytesMax: 2 ** 20, reserveBytes: 16 * 1024 })
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  const { token } = await hub.issueToken(topic, { rights: ['publish'], label: undefined, expiresAtMs: undefined })
  await hub.publish(topic, eventOf('there was room'))
  files.capacityBytes = files.usedBytes
  await assert.rejects(hub.publish(topic, eventOf('more')), { code: 'STORE_FULL' })
  for (const [name, use] of [
    ['revoke', () => hub.revokeToken(topic, token.number)],
    ['change', () => hub.changeTopic(topic, { name: 'full' })],
    ['purge', () => hub.purge(topic, undefined)],
    ['delete', () => hub.deleteTopic(topic.id)],
  ] as const) {
    await assert.doesNotReject(use, name)
    await assert.rejects(hub.createTopic({ persist: true }), { code: 'STORE_FULL' }, `after ${name}`)
  }
  assert.equal(hub.topic(topic.id), undefined)
  await hub.close()
  const again = await world.restart()
  const next = await openHub(again)
  assert.equal(next.topic(topic.id), undefined)
  await next.close()
  await again.close()
})
