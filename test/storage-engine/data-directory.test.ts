import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  checkpointName,
  indexName,
  manifestName,
  parseName,
  segmentName,
  temporaryName,
} from '../../storage-engine/data-directory.ts'

const GENERATIONS = [1, 9, 10, 4096, 2 ** 32, Number.MAX_SAFE_INTEGER]

test('every name that is made is parsed to what it was made of', () => {
  for (const generation of GENERATIONS) {
    assert.deepEqual(parseName(segmentName(generation)), { kind: 'segment', generation })
    assert.deepEqual(parseName(indexName(generation)), { kind: 'index', generation })
    assert.deepEqual(parseName(manifestName(generation)), { kind: 'manifest', number: generation })
    assert.deepEqual(parseName(checkpointName(generation)), { kind: 'checkpoint', number: generation })
    for (const make of [segmentName, indexName, manifestName, checkpointName]) {
      assert.deepEqual(parseName(temporaryName(make(generation))), { kind: 'temporary' })
    }
  }
  assert.deepEqual(
    ['LOCK', 'LOCK.0000000007', 'LOCK.new-1', 'reserve', 'reserve.tmp'].map((name) => parseName(name).kind),
    ['lock', 'lock', 'lock', 'reserve', 'temporary'],
  )
})

test('a sorted listing is in the order of generations, and of the numbers of manifests and checkpoints', () => {
  for (const make of [segmentName, manifestName, checkpointName]) {
    const names = GENERATIONS.map(make)
    assert.deepEqual([...names].reverse().sort(), names)
  }
})

test('row 34: a name that only looks like ours is unknown', () => {
  for (const name of [
    '',
    'notes.txt',
    'notes.txt.tmp',
    'LOCKSMITH',
    'reserve2',
    'segment-1.log',
    'segment-0000000000000001.log.bak',
    'segment-0000000000000001.LOG',
    'xsegment-0000000000000001.log',
    'segment-000000000000000a.log',
    'segment-00000000000000001.log',
    'segment-0000000000000001.log\n',
    // No generation: 0 stands for none, and above 2^53 a number is no longer itself.
    'segment-0000000000000000.log',
    'segment-9999999999999999.log',
    'segment-9007199254740992.index',
    'manifest-0000000000000000',
    'manifest-1',
    'manifest-0000000000000001.log',
    'manifest-0000000000000001\n',
    'checkpoint-00000000000000001',
    'checkpoint-000000000000001x',
    'xcheckpoint-0000000000000001',
    'checkpoint-0000000000000001.tmp.tmp.old',
  ]) {
    assert.deepEqual(parseName(name), { kind: 'unknown' }, JSON.stringify(name))
  }
})
