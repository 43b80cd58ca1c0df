// Who gets which sample: a clock that the test turns, and sinks that are full when the test says so.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Hub } from '../../src/domain/hub.ts'
import { Sampler } from '../../src/http/dashboard-sampler.ts'
import { Service } from '../../src/http/service.ts'
import { FakeSink } from '../support/fake-sink.ts'

interface World {
  readonly sampler: Sampler
  second(): Promise<void>
}

function startWorld(t: TestContext, writeTimeoutMs: number): World {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'], now: 1_000_000_000_000 })
  const service = new Service()
  const figures = () => ({ message_received: 1, message_sent: 2 })
  service.ready({ figures } as unknown as Hub)
  const latencies = () => ({ publish: null, delivery: null })
  const sources = { latencies, logFigures: () => undefined, notices: () => ['Mind the gap.'], writeTimeoutMs }
  const sampler = new Sampler(service, sources)
  t.after(() => sampler.close())
  return {
    sampler,
    async second() {
      t.mock.timers.tick(1000)
      await turn()
    },
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

function samplesOf({ events }: FakeSink): number {
  return events.filter(({ type }) => type === 'sser.figures').length
}

test('a stream that is full gets no sample, and the next one when it is empty again', async (t) => {
  const { sampler, second } = startWorld(t, 60_000)
  const [slow, quick] = [new FakeSink(), new FakeSink()]
  sampler.watch(slow, 'time', 0)
  sampler.watch(quick, 'none', 0)
  slow.refuses = true
  for (let count = 0; count < 5; count++) await second()
  assert.deepEqual([samplesOf(slow), samplesOf(quick)], [1, 5])
  slow.drain()
  await turn()
  await second()
  assert.deepEqual([samplesOf(slow), samplesOf(quick)], [2, 6])
  assert.deepEqual(slow.ids, ['1000000001000', '1000000006000'])
  assert.deepEqual(quick.ids, [])
  assert.deepEqual(JSON.parse(quick.events.at(-1)?.data ?? '').notices, ['Mind the gap.'])
})

test('a full stream is cut off when it has taken nothing for too long, and not while it takes anything', async (t) => {
  const { sampler, second } = startWorld(t, 0)
  const [stuck, slow] = [new FakeSink(), new FakeSink()]
  for (const sink of [stuck, slow]) {
    sampler.watch(sink, 'time', 0)
    sink.refuses = true
  }
  await second()
  slow.bytesAccepted += 1
  await second()
  assert.deepEqual([stuck.closeReason, slow.closeReason], ['write-timeout', undefined])
})

test('who watches no more gets nothing more; a stop ends the others', async (t) => {
  const { sampler, second } = startWorld(t, 60_000)
  const [gone, there] = [new FakeSink(), new FakeSink()]
  const leave = sampler.watch(gone, 'time', 0)
  sampler.watch(there, 'time', 0)
  leave()
  await second()
  sampler.close()
  assert.deepEqual([samplesOf(gone), samplesOf(there)], [0, 1])
  assert.deepEqual([gone.closeReason, there.closeReason], [undefined, 'stopping'])
})
