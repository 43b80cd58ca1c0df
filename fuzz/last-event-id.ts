/** The target of what a returning subscriber says that it has seen. */

import assert from 'node:assert/strict'
import { DomainError } from '../src/domain/errors.ts'
import { formatEventId } from '../src/domain/event-id.ts'
import type { Hub, ResumeRequest, Topic } from '../src/domain/hub.ts'
import type { ResumePoint } from '../src/domain/resume.ts'
import { eventOf, openHub } from '../test/support/hub-events.ts'
import { fakeWorld } from '../test/support/hub-worlds.ts'
import type { Random } from './random.ts'
import type { ByteTarget } from './target.ts'

const ID_BYTES_MAX = 256
const OWN_ID = 'order 7'

export const lastEventId: ByteTarget = {
  name: 'last-event-id',
  about: 'Any last event id resumes after a number that the client can have seen, with a gap where it is unknown.',
  generate: someText,
  check: (input) => checkResume(input, async (hub, topic, from) => await hub.resolve(topic, from)),
  planted: [{ bug: 'a stream resumes one event too late', check: (input) => checkResume(input, resolveTooLate) }],
}

interface World {
  readonly hub: Hub
  readonly topic: Topic
  readonly numbers: readonly number[]
  /** Of the event that bears OWN_ID. */
  readonly ownNumber: number
}

let opened: Promise<World> | undefined

/** Nothing changes it, so that all rounds share one. */
function world(): Promise<World> {
  opened ??= openWorld()
  return opened
}

async function openWorld(): Promise<World> {
  const hub = await openHub(fakeWorld())
  const { topic } = await hub.createTopic({ persist: true })
  const numbers: number[] = []
  for (const id of ['', OWN_ID, '', '42']) numbers.push(await hub.publish(topic, eventOf('a message', { id })))
  return { hub, topic, numbers, ownNumber: numbers[1] as number }
}

function someText(random: Random): Buffer {
  const near = formatEventId(random.below(2 ** 32))
  const texts = [near, OWN_ID, ` ${OWN_ID}\t`, '42', '0', '', ' ', 'é', near.slice(3), 'x'.repeat(random.below(300))]
  return Buffer.from(random.pick(texts))
}

type Resolve = (hub: Hub, topic: Topic, from: ResumeRequest) => Promise<ResumePoint>

async function checkResume(input: Buffer, resolve: Resolve): Promise<void> {
  const { hub, topic, numbers, ownNumber } = await world()
  const last = numbers.at(-1) as number
  // The ids that the server has given cannot stand in the corpus, since they begin with the time.
  const given = numbers[(input[0] ?? 0) % numbers.length] as number
  const known = await resolve(hub, topic, { kind: 'last-event-id', text: formatEventId(given) })
  assert.deepEqual([known.after, known.gap], [given, undefined], 'a number of the topic resumes after itself')

  const text = input.toString('utf8')
  try {
    const { after, gap, live } = await resolve(hub, topic, { kind: 'last-event-id', text })
    const trimmed = text.replace(/^[ \t]+|[ \t]+$/g, '')
    assert.ok(after <= last, 'nothing is passed over that was not committed')
    assert.equal(live, trimmed === '')
    if (trimmed === OWN_ID) assert.deepEqual([after, gap], [ownNumber, undefined])
    if (gap !== undefined) assert.equal(gap.resumesAfter, after)
    else if (!/^[0-9A-Za-z]{0,11}$/.test(trimmed)) assert.equal(trimmed, OWN_ID, 'an unknown id is a gap')
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    assert.equal(error.code, 'INVALID')
    assert.ok(input.length > ID_BYTES_MAX || Buffer.byteLength(text) > ID_BYTES_MAX, 'an id of that length is taken')
  }
}

async function resolveTooLate(hub: Hub, topic: Topic, from: ResumeRequest): Promise<ResumePoint> {
  const point = await hub.resolve(topic, from)
  return { ...point, after: point.after + 1 }
}
