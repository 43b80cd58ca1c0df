/** The bytes of the PROXY protocol: whole, cut anywhere, and broken. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseProxyHeader, proxyHeaderBytesMax } from '../../src/http/proxy-header.ts'
import { header2, header6Of, headerOf, localHeader, tlsField } from '../support/proxy-headers.ts'
import { Random } from '../support/random.ts'

const documentation = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x0f]
const mapped = [...Array.from({ length: 10 }, () => 0), 0xff, 0xff, 203, 0, 113, 7]
const zeros = (length: number) => Array.from({ length }, () => 0)
const text = (line: string) => Buffer.from(line, 'latin1')

const whole: readonly (readonly [what: string, bytes: Buffer, address: string | undefined])[] = [
  ['IPv4', headerOf('203.0.113.7'), '203.0.113.7'],
  ['IPv4 with a field', headerOf('203.0.113.7', [0x04, 0, 2, 0, 0]), '203.0.113.7'],
  ['IPv4 with fields to the bound', headerOf('255.0.0.1', zeros(proxyHeaderBytesMax - 28)), '255.0.0.1'],
  ['IPv6', header6Of(documentation), '2001:db8:1:2::f'],
  ['IPv6 with a field', header6Of(documentation, [0x05, 0, 1, 9]), '2001:db8:1:2::f'],
  ['IPv4 in IPv6', header6Of(mapped), '::ffff:203.0.113.7'],
  ['nobody', header2(0x21, 0x00, []), undefined],
  ['nobody, with a field', header2(0x21, 0x00, [0x04, 0, 0]), undefined],
  ['UDP', header2(0x21, 0x12, zeros(12)), undefined],
  ['UDP over IPv6', header2(0x21, 0x22, zeros(36)), undefined],
  ['a socket of Unix', header2(0x21, 0x31, zeros(216)), undefined],
  ['the proxy itself', localHeader, undefined],
  ['the proxy itself, with what means nothing', header2(0x20, 0xff, [1, 2, 3]), undefined],
  ['a line of IPv4', text('PROXY TCP4 203.0.113.7 192.0.2.9 43981 443\r\n'), '203.0.113.7'],
  ['a line of IPv6', text('PROXY TCP6 2001:DB8:0:0::7 2001:db8::9 0 65535\r\n'), '2001:db8::7'],
  ['a line of IPv4 in IPv6', text('PROXY TCP6 ::ffff:cb00:7107 ::1 1 2\r\n'), '::ffff:203.0.113.7'],
  ['a line of nobody', text('PROXY UNKNOWN\r\n'), undefined],
  ['the longest line', text(`PROXY UNKNOWN ${'f'.repeat(91)}\r\n`), undefined],
]

test('a header gives the address and its own length, whatever stands behind it', () => {
  for (const [what, bytes, address] of whole) {
    for (const behind of ['', 'G', 'GET / HTTP/1.1\r\n\r\n', '\r\n\r\n\0', 'PROXY UNKNOWN\r\n'])
      assert.deepEqual(
        parseProxyHeader(Buffer.concat([bytes, text(behind)])),
        { bytes: bytes.length, address, isSecure: false },
        `${what} before ${JSON.stringify(behind)}`,
      )
  }
})

test('whether the client has spoken TLS to the proxy is told by one field, wherever it stands and where it is whole', () => {
  const isSecure = (...fields: readonly (readonly number[])[]) => {
    const told = parseProxyHeader(headerOf('203.0.113.7', fields.flat()))
    assert(typeof told === 'object')
    assert.equal(told.address, '203.0.113.7')
    return told.isSecure
  }
  const other = [0x04, 0, 2, 0x20, 0]
  assert(isSecure(tlsField(1)))
  assert(isSecure(other, tlsField(7), other))
  assert(isSecure([0x20, 0, 1, 1]))
  for (const [what, fields] of [
    ['TLS is not what the client spoke', tlsField(0)],
    ['only a certificate was seen', tlsField(6)],
    ['a field of its own kind without a byte', [0x20, 0, 0, 1]],
    ['within another field', [0x04, 0, 4, 0x20, 0, 1, 1]],
    ['cut off', tlsField(1).slice(0, -1)],
    ['behind one that is cut off', [...tlsField(1).slice(0, -1).with(0, 4), ...tlsField(1)].slice(0, 20)],
    ['a byte', [0x20]],
  ] as const)
    assert(!isSecure(fields), what)
  const spokenByItself = parseProxyHeader(header2(0x20, 0x11, [...zeros(12), ...tlsField(1)]))
  assert.deepEqual(spokenByItself, { bytes: 46, address: undefined, isSecure: false })
  const v6 = parseProxyHeader(header6Of(documentation, tlsField(1)))
  assert(typeof v6 === 'object' && v6.isSecure)
})

test('cut at any byte it is waited for', () => {
  for (const [what, bytes] of whole) {
    for (let length = 0; length < bytes.length; length += 1)
      assert.equal(parseProxyHeader(bytes.subarray(0, length)), undefined, `${what}, ${length} bytes`)
  }
})

test('everything else is refused, at the first byte that tells', () => {
  const good = headerOf('203.0.113.7')
  const withByte = (index: number, byte: number) => Buffer.from(good).fill(byte, index, index + 1)
  const broken: readonly (readonly [what: string, bytes: Buffer])[] = [
    ['a request', text('G')],
    ['a request after an empty line', text('\r\nG')],
    ['a handshake of TLS', Buffer.from([0x16])],
    ['a byte of the signature', withByte(11, 0x0b).subarray(0, 12)],
    ['version 1 in binary', withByte(12, 0x11)],
    ['version 3', withByte(12, 0x31)],
    ['an unknown command', withByte(12, 0x22)],
    ['an unknown family', withByte(13, 0x41)],
    ['a family without a protocol', withByte(13, 0x10)],
    ['IPv4 that is too short', header2(0x21, 0x11, zeros(11))],
    ['IPv6 that is too short', header2(0x21, 0x21, zeros(35))],
    ['a path that is too short', header2(0x21, 0x31, zeros(215))],
    ['one that says to be over the bound', header2(0x21, 0x11, [], proxyHeaderBytesMax - 15)],
    ['one for the proxy itself over the bound', header2(0x20, 0x00, [], 65_535)],
    ['a line in small letters', text('proxy')],
    ['a line that never ends', text(`PROXY UNKNOWN ${'f'.repeat(93)}`)],
    ['a line that ends too late', text(`PROXY UNKNOWN ${'f'.repeat(92)}\r\n`)],
  ]
  for (const [what, bytes] of broken) assert.equal(parseProxyHeader(bytes), 'malformed', what)
  for (const words of [
    'TCP4 203.0.113.7 192.0.2.9 43981',
    'TCP4 203.0.113.7 192.0.2.9 43981 443 1',
    'TCP4  203.0.113.7 192.0.2.9 43981 443',
    'TCP4 203.0.113.7 192.0.2.9 65536 443',
    'TCP4 203.0.113.7 192.0.2.9 043 443',
    'TCP4 203.0.113.256 192.0.2.9 1 2',
    'TCP4 203.0.113.7 192.0.2 1 2',
    'TCP4 2001:db8::7 2001:db8::9 1 2',
    'TCP6 203.0.113.7 192.0.2.9 1 2',
    'TCP6 fe80::1%eth0 fe80::2 1 2',
    'tcp4 203.0.113.7 192.0.2.9 1 2',
    'UDP4 203.0.113.7 192.0.2.9 1 2',
    'UNKNOWNS',
    '',
  ])
    assert.equal(parseProxyHeader(text(`PROXY ${words}\r\n`)), 'malformed', words)
})

test('whatever bytes come, in whatever pieces, the answer is the same and never beyond them', () => {
  const random = new Random()
  for (let round = 0; round < 20_000; round += 1) {
    const [, example] = random.pick(whole)
    const bytes = Buffer.concat([example, random.bytes(random.int(20))])
    for (let times = random.int(4); times > 0; times -= 1)
      bytes[random.int(random.chance(0.5) ? 17 : bytes.length)] = random.int(256)
    const told = parseProxyHeader(bytes)
    const words = `seed ${random.seed}, round ${round}: ${bytes.toString('hex')}`
    if (typeof told === 'object') assert(told.bytes <= Math.min(bytes.length, proxyHeaderBytesMax), words)
    else if (told === undefined) assert(bytes.length < proxyHeaderBytesMax, words)
    const piece = parseProxyHeader(bytes.subarray(0, random.int(bytes.length + 1)))
    // What was said of less holds of more.
    if (piece !== undefined) assert.deepEqual(piece, told, words)
  }
})
