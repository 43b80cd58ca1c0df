// Whether a request comes from this machine itself.
import type { IncomingMessage } from 'node:http'
import { BlockList, isIPv6 } from 'node:net'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8)
loopback.addAddress('::1', 'ipv6')

const loopbackHost = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i
const loopbackOrigin = /^https?:\/\/(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/i
/** Traces of a proxy on this machine, which would otherwise let the whole internet in. */
const forwardingHeaders = /^(?:forwarded|via|x-forwarded-.*|x-real-ip)$/

/** What browsers send for a URL that was typed in, or for a page of this server. */
const ownSites: ReadonlySet<unknown> = new Set([undefined, 'none', 'same-origin'])

/**
 * Whether the request comes from this machine, and not through a proxy on it: judged by the peer's address; by the requested
 * host name, which keeps out pages whose own name was pointed at this address (DNS rebinding); by what browsers say of the
 * page that sends it; and by the traces that proxies leave.
 */
export function isLocal({ socket, headers }: IncomingMessage): boolean {
  if (!isLoopback(plainAddress(socket.remoteAddress ?? ''))) return false
  if (!loopbackHost.test(headers.host ?? '')) return false
  if (headers.origin !== undefined && !loopbackOrigin.test(headers.origin)) return false
  if (!ownSites.has(headers['sec-fetch-site'])) return false
  return !Object.keys(headers).some((name) => forwardingHeaders.test(name))
}

/** For an address in the form of `plainAddress`; false for none. */
export function isLoopback(address: string): boolean {
  return address !== '' && loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Without local decorations: the IPv6 mapping of an IPv4 address, and the zone. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
}
