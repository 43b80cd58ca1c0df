import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bytesText, msText, rateText, spanText } from '../../src/dashboard/format.ts'
import { addRows, growthOf, rateBetween, rowsMax, seriesOf } from '../../src/dashboard/samples.ts'
import type { Row } from '../../src/http/dashboard-sample.ts'

test('rates are events a second, and unknown over a pause and over a restart', () => {
  assert.equal(rateBetween([1000, 10, 100, 0], [3000, 30, 700, 0], 1), 10)
  assert.equal(rateBetween([1000, 10, 100, 0], [3000, 30, 700, 0], 2), 300)
  assert.equal(rateBetween([1000, 10, 100, 0], [9000, 30, 700, 0], 1), null)
  assert.equal(rateBetween([1000, 10, 100, 0], [2000, 0, 0, 0], 1), null)
  assert.equal(rateBetween(undefined, [2000, 0, 0, 0], 1), null)
  assert.deepEqual(
    seriesOf([
      [1000, 0, 0, 0],
      [2000, 5, 50, 0],
    ]),
    [
      [1, 2],
      [null, 5],
      [null, 50],
    ],
  )
})

test('rows are taken once, in their order, and the oldest go', () => {
  const rows: Row[] = [[1000, 1, 1, 1]]
  addRows(rows, [
    [1000, 9, 9, 9],
    [2000, 2, 2, 2],
  ])
  assert.deepEqual(
    rows.map(([time, published]) => [time, published]),
    [
      [1000, 1],
      [2000, 2],
    ],
  )
  addRows(
    rows,
    Array.from({ length: rowsMax }, (_, index) => [3000 + index, 0, 0, 0] as const),
  )
  assert.deepEqual([rows.length, rows[0]?.[0]], [rowsMax, 3000])
})

test('growth is told from a minute on', () => {
  assert.equal(growthOf([]), undefined)
  assert.equal(
    growthOf([
      [0, 0, 0, 0],
      [59_000, 0, 0, 9e9],
    ]),
    undefined,
  )
  assert.equal(
    growthOf([
      [0, 0, 0, 1000],
      [100_000, 0, 0, 51_000],
    ]),
    500,
  )
})

test('numbers are written so that people can read them', () => {
  assert.deepEqual([null, 0, 12.34, 1234.5, 34_900, 624_900, 5_200_000].map(rateText), [
    '–',
    '0.0',
    '12.3',
    '1,235',
    '34,900',
    '625K',
    '5.2M',
  ])
  assert.deepEqual([0, 1023, 1024, 5 * 2 ** 30, 2 ** 62].map(bytesText), [
    '0 B',
    '1023 B',
    '1.0 KiB',
    '5.0 GiB',
    '4194304.0 TiB',
  ])
  assert.deepEqual([0.123, 12.34, 123.4, 1234, 12_345].map(msText), ['0.12 ms', '12.3 ms', '123 ms', '1.2 s', '12 s'])
  assert.deepEqual([5, 61, 3600, 7200, 86_400 * 3, 86_400 * 800].map(spanText), [
    'less than a minute',
    '1 minute',
    '60 minutes',
    '2 hours',
    '3 days',
    '2 years',
  ])
})
