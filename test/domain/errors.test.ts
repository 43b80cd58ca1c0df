import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError, fromStorageError } from '../../src/domain/errors.ts'
import { StorageError } from '../../storage-engine/index.ts'

test('a full store, a busy one and a failed one are told apart, and the cause is kept', () => {
  const expected = {
    STORAGE_CLOSED: 'CLOSED',
    STORAGE_FULL: 'STORE_FULL',
    STORAGE_BUSY: 'BUSY',
    STORAGE_WRITE: 'BUSY',
    STORAGE_FAILED: 'STORE_FAILED',
    STORAGE_READ: 'STORE_FAILED',
    STORAGE_EXHAUSTED: 'STORE_FAILED',
    STORAGE_TOO_LARGE: 'TOO_LARGE',
  } as const
  for (const [from, to] of Object.entries(expected)) {
    const cause = new StorageError(from as keyof typeof expected, 'in /secret/path')
    const error = fromStorageError(cause)
    assert(error instanceof DomainError)
    assert.equal(error.code, to)
    assert.equal(error.cause, cause)
    assert.doesNotMatch(error.message, /secret/)
  }
})

test('an error of the domain and one that nobody was prepared for pass unchanged', () => {
  const mine = new DomainError('TOPIC_UNKNOWN', 'There is no such topic.')
  assert.equal(fromStorageError(mine), mine)
  const mistake = new TypeError('x')
  assert.equal(fromStorageError(mistake), mistake)
})
