/** Whose address a request comes from, with and without proxies. */

import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { parseAddressRange } from '../../src/config/values.ts'
import { ClientAddresses, networkOf } from '../../src/http/client-address.ts'

function clients(...trusted: string[]): ClientAddresses {
  return new ClientAddresses(trusted.map((text) => parseAddressRange(text) ?? assert.fail(`${text} is not understood`)))
}

function from(peer: string | undefined, forwarded?: string): IncomingMessage {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
  return { socket: { remoteAddress: peer }, headers } as unknown as IncomingMessage
}

test('without trusted proxies the peer is the client, whatever a header says', () => {
  assert.equal(clients().of(from('198.51.100.1')), '198.51.100.1')
  assert.equal(clients().of(from('198.51.100.1', '203.0.113.7')), '198.51.100.1')
  assert.equal(clients('10.0.0.0/8').of(from('11.0.0.1', '203.0.113.7')), '11.0.0.1')
  assert.equal(clients().of(from('127.0.0.1', '203.0.113.7')), '127.0.0.1')
  assert.equal(clients().of(from('::ffff:198.51.100.1')), '198.51.100.1')
  assert.equal(clients().of(from('fe80::1%eth0')), 'fe80::1')
  assert.equal(clients('10.0.0.0/8').of(from(undefined, '203.0.113.7')), '')
})

test('behind trusted proxies it is the nearest address that is none of theirs', () => {
  const behind = clients('10.0.0.0/8', '192.0.2.1', '2001:db8::/32')
  for (const [peer, forwarded, expected] of [
    ['10.1.2.3', '203.0.113.7', '203.0.113.7'],
    ['::ffff:10.1.2.3', '203.0.113.7', '203.0.113.7'],
    ['2001:db8::9', '2a00::1', '2a00::1'],
    ['10.1.2.3', '1.1.1.1, 203.0.113.7', '203.0.113.7'],
    ['10.1.2.3', '1.1.1.1,203.0.113.7 , 192.0.2.1,10.9.9.9', '203.0.113.7'],
    ['10.1.2.3', '203.0.113.7:4711', '203.0.113.7'],
    ['10.1.2.3', '[2a00::1]:4711', '2a00::1'],
    ['10.1.2.3', '[2a00::1]', '2a00::1'],
    ['10.1.2.3', '::ffff:203.0.113.7', '203.0.113.7'],
    ['10.1.2.3', '10.4.4.4', '10.4.4.4'],
    ['10.1.2.3', '', '10.1.2.3'],
    ['10.1.2.3', 'unknown', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.7, _hidden', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.7, 192.0.2.1, 300.1.1.1', '10.1.2.3'],
  ] as const) {
    assert.equal(behind.of(from(peer, forwarded)), expected, `${peer}: ${forwarded}`)
  }
})

test('loopback and trusted proxies are addresses that many share', () => {
  const behind = clients('10.0.0.0/8')
  for (const shared of ['127.0.0.1', '127.9.9.9', '::1', '10.4.4.4', '']) assert.ok(behind.isShared(shared), shared)
  for (const own of ['203.0.113.7', '2a00::1', '128.0.0.1']) assert.ok(!behind.isShared(own), own)
})

test('each request of a trusted proxy is limited as its own client, though all come over one connection', () => {
  const behind = clients('10.0.0.0/8')
  const { socket } = from('10.1.2.3')
  const asking = (forwarded?: string) => {
    const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
    return behind.limitedAs({ socket, headers } as unknown as IncomingMessage)
  }
  assert.equal(asking(), undefined)
  assert.equal(asking('203.0.113.7'), '203.0.113.7')
  assert.equal(asking('2a00:1:2:3::9'), '2a00:1:2:3::/64')
  assert.equal(asking('10.4.4.4'), undefined)
  assert.equal(asking(), undefined)
})

test('a peer that nobody trusts is limited as itself, whatever its header says, and at each request', () => {
  for (const known of [clients(), clients('10.0.0.0/8')]) {
    const { socket } = from('198.51.100.1')
    for (const forwarded of [undefined, '203.0.113.7', undefined]) {
      const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded }
      assert.equal(known.limitedAs({ socket, headers } as unknown as IncomingMessage), '198.51.100.1')
    }
  }
})

test('a connection of HTTP/2 is looked up once, though each of its requests has a socket of its own', () => {
  const known = clients()
  const session = {}
  let reads = 0
  for (let request = 0; request < 3; request += 1) {
    const socket = {
      get remoteAddress() {
        reads += 1
        return '198.51.100.1'
      },
    }
    const asking = { socket, headers: {}, stream: { session } } as unknown as IncomingMessage
    assert.equal(known.limitedAs(asking), '198.51.100.1')
  }
  assert.equal(reads, 1)
})

test('an IPv4 address is one client, and a /64 of IPv6 is, however it is written', () => {
  for (const [address, network] of [
    ['203.0.113.7', '203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:0001:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['64:ff9b::203.0.113.7', '64:ff9b:0:0::/64'],
    ['1:2:3:4:5:6:203.0.113.7', '1:2:3:4::/64'],
    ['1::3:4:5:6:7:8', '1:0:3:4::/64'],
  ] as const) {
    assert.equal(networkOf(address), network, address)
  }
})
