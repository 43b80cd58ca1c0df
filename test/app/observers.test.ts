/** What others can bring about at will is told in the log, and cannot fill it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { httpObserver } from '../../src/app/observers.ts'
import type { Logger } from '../../src/logger.ts'
import { FakeClock } from '../support/fake-clock.ts'

function observed() {
  const clock = new FakeClock()
  const lines: Record<string, unknown>[] = []
  const note = (fields: object, message: string) => lines.push({ ...fields, message })
  const logger = { debug: note, info: note, warn: note, error: note } as unknown as Logger
  return { clock, lines, observer: httpObserver(logger, () => clock.monotonicMs()) }
}

test('addresses that have to wait are told with their number of wrong tokens, ten in a minute, and then how many were not', () => {
  const { clock, lines, observer } = observed()
  for (let host = 0; host < 30; host += 1) observer.throttled(`203.0.113.${host}`, 10)
  assert.equal(lines.length, 10)
  assert.deepEqual(lines[0], {
    address: '203.0.113.0',
    wrongTokens: 10,
    message: 'An address has to wait: it has sent too many wrong tokens.',
  })
  clock.advance(60_000)
  observer.throttled('203.0.113.99', 10)
  assert.deepEqual([lines.length, lines[10]?.['address'], lines[10]?.['addressesBefore']], [11, '203.0.113.99', 20])
})

test('a proxy that does not say whose its connections are is told once a minute, and then how often it was not', () => {
  const { clock, lines, observer } = observed()
  for (let times = 0; times < 100; times += 1) observer.proxyRefused('192.0.2.1', 'it did not come in time')
  assert.equal(lines.length, 1)
  assert.deepEqual(lines[0], {
    proxy: '192.0.2.1',
    reason: 'it did not come in time',
    message: 'A trusted proxy was cut off: it did not begin with a PROXY protocol header.',
  })
  clock.advance(60_000)
  observer.proxyRefused('192.0.2.1', 'it did not come in time')
  assert.equal(lines[1]?.['timesBefore'], 99)
})

test('each limit that is reached is told once a minute, with how often it was since the last line', () => {
  const { clock, lines, observer } = observed()
  for (let times = 0; times < 1000; times += 1) observer.limitReached('limits.topicsMax')
  observer.limitReached('limits.subscribersMax')
  assert.deepEqual(
    lines.map(({ limit, timesBefore }) => [limit, timesBefore]),
    [
      ['limits.topicsMax', undefined],
      ['limits.subscribersMax', undefined],
    ],
  )
  clock.advance(60_000)
  observer.limitReached('limits.topicsMax')
  assert.equal(lines[2]?.['timesBefore'], 999)
})
