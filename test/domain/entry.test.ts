import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  CATALOG_STREAM,
  decodeEvent,
  decodeTicketIssued,
  decodeTicketUsed,
  decodeTokenIssued,
  decodeTokenRevoked,
  decodeTopicCreated,
  decodeTopicDeleted,
  EntryError,
  EVENT_PUBLISHED,
  EventPayload,
  encodeEvent,
  encodeTicketIssued,
  encodeTicketUsed,
  encodeTokenIssued,
  encodeTokenRevoked,
  encodeTopicCreated,
  encodeTopicDeleted,
  TOPIC_CREATED,
  TOPIC_DELETED,
} from '../../src/domain/entry.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { hashToken } from '../../src/domain/token.ts'

const SHA256 = Buffer.alloc(32, 0xab)

const tokenFields = { rights: ['publish'] as const, label: 'press', createdAtMs: 5, expiresAtMs: undefined }

test('the numbers of the kinds and of the catalogue are those of the format', () => {
  assert.deepEqual([CATALOG_STREAM, TOPIC_CREATED, TOPIC_DELETED, EVENT_PUBLISHED], [1, 1, 2, 3])
})

test('an event is laid out as the format says', () => {
  const payload = encodeEvent({ isString: true, type: Buffer.from('chat'), message: Buffer.from('hé') })
  assert.equal(Buffer.from(payload).toString('hex'), `01000400${Buffer.from('chathé').toString('hex')}`)
  const bare = encodeEvent({ isString: false, type: new Uint8Array(0), message: Buffer.from('null') })
  assert.equal(Buffer.from(bare).toString('hex'), `00000000${Buffer.from('null').toString('hex')}`)
  const long = encodeEvent({ isString: false, type: new Uint8Array(0x1234), message: new Uint8Array(0) })
  assert.deepEqual([...long.subarray(2, 4)], [0x34, 0x12])
})

test('an event is read as it was written, as views of its payload', () => {
  const bytes = fc.uint8Array({ maxLength: 300 })
  fc.assert(
    fc.property(fc.boolean(), bytes, bytes, (isString, type, message) => {
      const payload = encodeEvent({ isString, type, message })
      const event = decodeEvent(payload)
      assert.equal(event.isString, isString)
      assert.ok(Buffer.from(event.type).equals(type))
      assert.ok(Buffer.from(event.message).equals(message))
      assert.equal(event.message.buffer, payload.buffer)
    }),
  )
})

test('a message that is a text becomes the bytes that UTF-8 has for it, whatever its characters are, in its place alone', () => {
  const ascii = fc.string({ maxLength: 300 })
  // Halves of surrogate pairs among them.
  const anything = fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) })
  fc.assert(
    fc.property(fc.boolean(), fc.uint8Array({ maxLength: 9 }), fc.oneof(ascii, anything), (isString, type, message) => {
      const payload = new EventPayload({ isString, type, message })
      const target = Buffer.alloc(payload.length + 4, 0xaa)
      payload.writeTo(target, 2)
      const ofBytes = encodeEvent({ isString, type, message: Buffer.from(message) })
      assert.ok(target.subarray(2, -2).equals(ofBytes))
      assert.equal(target.readUInt16LE(0) & target.readUInt16LE(target.length - 2), 0xaaaa)
    }),
  )
})

test('the longest type is 65,535 bytes', () => {
  const message = new Uint8Array(0)
  assert.equal(decodeEvent(encodeEvent({ isString: true, type: new Uint8Array(65_535), message })).type.length, 65_535)
  assert.throws(() => encodeEvent({ isString: true, type: new Uint8Array(65_536), message }), {
    code: 'ENTRY_TOO_LARGE',
  })
})

test('an event of another form is malformed: too short, unknown flags, a reserved byte, a type beyond the end', () => {
  for (const hex of ['', '01', '010000', '02000000', '80000000', '00010000', '00000100', '0000ffff61']) {
    assert.throws(() => decodeEvent(Buffer.from(hex, 'hex')), { name: 'EntryError', code: 'ENTRY_MALFORMED' }, hex)
  }
})

test('a topic created is read as it was written, with and without a name', () => {
  for (const name of [undefined, '', 'orders "é"']) {
    for (const retention of [unlimited, { maxAgeMs: 1, maxBytes: undefined, maxEvents: 2 ** 53 - 1 }]) {
      const created = { tokenSha256: SHA256, name, retention, createdAtMs: 1_790_000_000_000 }
      assert.deepEqual(decodeTopicCreated(encodeTopicCreated(created)), created)
    }
  }
})

test('a limit that could not be read back is not written', () => {
  for (const limit of [0, -1, 1.5, Number.NaN, 3.6e18, Number.POSITIVE_INFINITY]) {
    const retention = { ...unlimited, maxAgeMs: limit }
    const fields = { tokenSha256: SHA256, name: undefined, retention, createdAtMs: 5 }
    assert.throws(() => encodeTopicCreated(fields), { name: 'EntryError', code: 'ENTRY_TOO_LARGE' })
  }
})

test('a topic created is JSON as the format says', () => {
  const payload = encodeTopicCreated({ tokenSha256: SHA256, name: undefined, retention: unlimited, createdAtMs: 5 })
  assert.equal(Buffer.from(payload).toString(), `{"v":1,"token_sha256":"${'ab'.repeat(32)}","created_at":5}`)
  assert.equal(Buffer.from(encodeTopicDeleted({ topic: 77 })).toString(), '{"v":1,"topic":77}')
})

test('a topic deleted is read as it was written', () => {
  assert.deepEqual(decodeTopicDeleted(encodeTopicDeleted({ topic: 2 ** 53 - 1 })), { topic: 2 ** 53 - 1 })
})

test('tokens and tickets are read as they were written, and only their hashes stand in the log', () => {
  const [sha256, by] = [hashToken('secret'), hashToken('maker')].map((hash) => Buffer.from(hash)) as [Buffer, Buffer]
  const issued = { topic: 7, token: { ...tokenFields, sha256 } }
  assert.deepEqual(decodeTokenIssued(encodeTokenIssued(issued)), issued)
  assert.deepEqual(decodeTokenRevoked(encodeTokenRevoked({ topic: 7, token: 9 })), { topic: 7, token: 9 })
  const ticket = { sha256, grants: [{ topics: ['0000000000a'], by }], createdAtMs: 5, expiresAtMs: 6 }
  assert.deepEqual(decodeTicketIssued(encodeTicketIssued(ticket)), ticket)
  const used = { ticket: 7, isOpen: false, usableUntilMs: 8 }
  assert.deepEqual(decodeTicketUsed(encodeTicketUsed(used)), used)
  for (const payload of [encodeTokenIssued(issued), encodeTicketIssued(ticket)]) {
    assert.doesNotMatch(Buffer.from(payload).toString(), /secret|maker/)
  }
})

test('what is no ticket is malformed and nothing worse', () => {
  const hex = Buffer.from(hashToken('x')).toString('hex')
  const whole = { v: 1, token_sha256: hex, grants: [{ topics: ['0000000000a'], token_sha256: hex }] }
  const times = { created_at: 5, expires_at: 6 }
  for (const wrong of [
    whole,
    { ...whole, ...times, grants: 1 },
    { ...whole, ...times, grants: [null] },
    { ...whole, ...times, grants: [{ topics: ['short'], token_sha256: hex }] },
    { ...whole, ...times, grants: [{ topics: ['0000000000a'], token_sha256: 'x' }] },
    { ...whole, ...times, token_sha256: 5 },
  ]) {
    const payload = Buffer.from(JSON.stringify(wrong))
    assert.throws(() => decodeTicketIssued(payload), { code: 'ENTRY_MALFORMED' }, payload.toString())
  }
  for (const wrong of [
    {},
    { ticket: 5, open: 1, usable_until: 5 },
    { open: true, usable_until: 5 },
    { ticket: 5, open: true },
  ]) {
    const payload = Buffer.from(JSON.stringify({ v: 1, ...wrong }))
    assert.throws(() => decodeTicketUsed(payload), { code: 'ENTRY_MALFORMED' }, payload.toString())
  }
})

test('fields that a later version adds are ignored', () => {
  const sha = 'ab'.repeat(32)
  const text = `{"v":1,"new":[1],"__proto__":{"name":3},"token_sha256":"${sha}","created_at":5,"name":null}`
  assert.deepEqual(decodeTopicCreated(Buffer.from(text)), {
    tokenSha256: SHA256,
    name: undefined,
    retention: unlimited,
    createdAtMs: 5,
  })
  assert.deepEqual(decodeTopicDeleted(Buffer.from('{"v":1,"topic":3,"why":"x"}')), { topic: 3 })
})

test('a payload of a later version of the form is told as such', () => {
  assert.throws(() => decodeTopicDeleted(Buffer.from('{"v":2,"topic":3}')), { code: 'ENTRY_NEWER' })
})

test('whatever else stands in a payload is malformed and nothing worse', () => {
  const sha = 'ab'.repeat(32)
  const created = [
    '',
    'x',
    'null',
    '[]',
    '{}',
    '{"v":1}',
    `{"v":1,"token_sha256":"${sha}"}`,
    `{"v":"1","token_sha256":"${sha}","created_at":5}`,
  ]
  created.push(`{"v":1,"token_sha256":"${sha.toUpperCase()}","created_at":5}`)
  created.push(`{"v":1,"token_sha256":"${sha}","created_at":5.5}`)
  created.push(`{"v":1,"token_sha256":"${sha}","created_at":5,"name":6}`)
  for (const text of created) {
    assert.throws(() => decodeTopicCreated(Buffer.from(text)), { code: 'ENTRY_MALFORMED' }, text)
  }
  for (const text of ['{"v":1}', '{"v":1,"topic":"3"}', '{"v":1,"topic":-1}', '{"v":1,"topic":9007199254740992}']) {
    assert.throws(() => decodeTopicDeleted(Buffer.from(text)), { code: 'ENTRY_MALFORMED' }, text)
  }
  assert.throws(() => decodeTopicDeleted(Buffer.from('{"v":1,"topic":3,"x":"\xff"}', 'latin1')), {
    code: 'ENTRY_MALFORMED',
  })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (payload) => {
      for (const decode of [
        decodeEvent,
        decodeTopicCreated,
        decodeTopicDeleted,
        decodeTicketIssued,
        decodeTicketUsed,
      ]) {
        try {
          decode(payload)
        } catch (error) {
          assert.ok(error instanceof EntryError)
        }
      }
    }),
  )
})
