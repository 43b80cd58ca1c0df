// Who asks on this machine itself.
import type { IncomingMessage } from 'node:http'
import { BlockList, isIPv6 } from 'node:net'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8)
loopback.addAddress('::1', 'ipv6')

const loopbackHost = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i
const loopbackOrigin = /^https?:\/\/(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i
/** A proxy on this machine would let the whole internet in. */
const forwardingHeaders = /^(?:forwarded|via|x-forwarded-.*|x-real-ip)$/

/** As browsers tell of whoever types an address, or is on a page of this server. */
const ownSites: ReadonlySet<unknown> = new Set([undefined, 'none', 'same-origin'])

/**
 * Whether somebody on this machine asks, and nobody through it: by the peer's address, by the name that was asked for, which
 * keeps pages out that were sent to this address by their own (DNS rebinding), by what browsers tell of the page that asks, and
 * by the traces that proxies leave.
 */
export function isLocal({ socket, headers }: IncomingMessage): boolean {
  if (!isLoopback(plainAddress(socket.remoteAddress ?? ''))) return false
  if (!loopbackHost.test(headers.host ?? '')) return false
  if (headers.origin !== undefined && !loopbackOrigin.test(headers.origin)) return false
  if (!ownSites.has(headers['sec-fetch-site'])) return false
  return !Object.keys(headers).some((name) => forwardingHeaders.test(name))
}

/** Of an address in the form of `plainAddress`; false for none. */
export function isLoopback(address: string): boolean {
  return address !== '' && loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Without what one machine adds for itself: the IPv6 around an IPv4 address, and the zone. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
}
