import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findJsonMistake } from '../../src/http/find-json-mistake.ts'
import { parseJson } from '../../src/http/json-body.ts'

test('the place of a mistake is where the text cannot be JSON any more', () => {
  const cases: readonly (readonly [string, number, number])[] = [
    ['', 1, 1],
    ['x', 1, 1],
    ['[1,', 1, 4],
    ['[1,]', 1, 4],
    ['{"a"}', 1, 5],
    ['{"a":}', 1, 6],
    ['{,}', 1, 2],
    ['{"a":1,}', 1, 8],
    ['{"a":1]', 1, 7],
    ['01', 1, 2],
    ['-', 1, 1],
    ['1.', 1, 2],
    ['"a', 1, 3],
    ['"\\x"', 1, 2],
    ['"\\u12g4"', 1, 2],
    ['\n\n  [true,\nfalse x]', 4, 7],
    ['nul', 1, 1],
    ['{}{}', 1, 3],
    [']', 1, 1],
  ]
  for (const [text, line, column] of cases) {
    assert.throws(() => JSON.parse(text), text)
    const found = findJsonMistake(text)
    assert.deepEqual([found.line, found.column], [line, column], text)
  }
})

test('neither depth nor length does harm', () => {
  for (const text of [
    '['.repeat(500_000),
    '{"a":'.repeat(200_000),
    `["${'x'.repeat(2_000_000)}`,
    `${' '.repeat(1_000_000)}x`,
  ]) {
    assert.throws(() => parseJson(Buffer.from(text)), /not valid JSON/)
  }
})
