import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Histogram } from '../../src/metrics/histogram.ts'
import { RecentQuantiles } from '../../src/metrics/quantiles.ts'

test('quantiles are those of the latest ticks, to the bucket and evenly inside it', () => {
  const histogram = new Histogram([1, 2, 10])
  histogram.observe(5, 1000)
  const recent = new RecentQuantiles(histogram, 2)
  assert.equal(recent.of([0.5]), undefined)
  histogram.observe(0.5, 98)
  histogram.observe(9)
  histogram.observe(100)
  assert.equal(recent.of([0.5]), undefined, 'counted when the tick comes')
  recent.tick()
  assert.deepEqual(recent.of([0.49, 0.98, 0.985, 0.99, 1]), [0.5, 1, 6, 10, 10])
  recent.tick()
  assert.notEqual(recent.of([0.5]), undefined)
  recent.tick()
  assert.equal(recent.of([0.5]), undefined)
})
