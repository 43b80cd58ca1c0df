// The address of a request's client, and whether that client speaks HTTPS. What the request's headers say about it
// (X-Forwarded-For and X-Forwarded-Proto) counts only as far as it was written by proxies that the configuration trusts:
// anyone can send these headers. Proxies that announce the client in front of a connection (the PROXY protocol) only relay
// what follows, so its headers are the client's own words. Knows nothing of what the answer is used for.
import type { IncomingMessage } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { BlockList, isIP, isIPv6, type Socket } from 'node:net'
import { isLocal, isLoopback, plainAddress } from './is-local.ts'

/** A network, or a single address with a `prefix` of 32 or 128. */
export interface AddressRange {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
}

/** What a trusted proxy announced in front of a connection. */
interface Announced {
  readonly address: string
  /** The client speaks TLS to that proxy. */
  readonly isSecure: boolean
}

export class ClientAddresses {
  readonly #trusted = new BlockList()
  readonly #trustsNobody: boolean
  readonly #needsHeaders: boolean
  /** Clients of the open connections of trusted proxies, by both ends: over TLS a connection has several socket objects, which share these. */
  readonly #named = new Map<string, Announced>()
  /** For direct connections: the list of networks should not be searched for each of their requests. */
  readonly #limitedAs = new WeakMap<object, string | null>()

  /** `needsHeaders`: connections of trusted proxies must begin with a PROXY protocol header. */
  constructor(trustedProxies: readonly AddressRange[], needsHeaders = false) {
    this.#trustsNobody = trustedProxies.length === 0
    this.#needsHeaders = needsHeaders
    for (const { address, prefix, family } of trustedProxies) this.#trusted.addSubnet(address, prefix, family)
  }

  needsHeader({ remoteAddress = '' }: Socket): boolean {
    return this.#needsHeaders && this.#isTrusted(plainAddress(remoteAddress))
  }

  /** Records a connection's client, from the header that the trusted proxy sent in front of it. */
  learn(socket: Socket, address: string, isSecure: boolean): void {
    const ends = endsOf(socket)
    this.#named.set(ends, { address: plainAddress(address), isSecure })
    socket.once('close', () => this.#named.delete(ends))
  }

  /**
   * The nearest address that is not a trusted proxy's; if all are, the farthest. IPv4-mapped IPv6 as IPv4. Empty where the
   * connection is gone.
   */
  of({ socket, headers }: Pick<IncomingMessage, 'socket' | 'headers'>): string {
    const forwarded = headers['x-forwarded-for']
    let address = this.#nearest(socket)
    if (forwarded === undefined || !this.#mayForward(socket)) return address
    const hops = String(forwarded).split(',')
    while (this.#isTrusted(address)) {
      const next = addressIn(hops.pop() ?? '')
      // Nothing is known beyond an entry that a trusted proxy did not write as an address.
      if (next === undefined) break
      address = next
    }
    return address
  }

  /**
   * What the client's limits are counted by: the network of its address; undefined where many clients may share it, or where
   * it is this machine.
   */
  limitedAs(request: Pick<IncomingMessage, 'socket' | 'headers'>): string | undefined {
    if (request.headers['x-forwarded-for'] !== undefined && !this.#trustsNobody) return this.#networkToLimit(request)
    const connection = connectionOf(request)
    let network = this.#limitedAs.get(connection)
    if (network === undefined) {
      network = this.#networkToLimit(request) ?? null
      this.#limitedAs.set(connection, network)
    }
    return network ?? undefined
  }

  #networkToLimit(request: Pick<IncomingMessage, 'socket' | 'headers'>): string | undefined {
    const address = this.of(request)
    return this.isShared(address) ? undefined : networkOf(address)
  }

  /**
   * Whether the client speaks HTTPS to the trusted proxy that wrote the request, or that announced the client in front of the
   * connection. Nobody else's word on that counts.
   */
  saysHttps({ socket, headers }: Pick<IncomingMessage, 'socket' | 'headers'>): boolean {
    const said = headers['x-forwarded-proto']
    if (said === undefined || !this.#mayForward(socket)) return this.#namedFor(socket)?.isSecure ?? false
    // Of several values, the last one was written by the peer itself.
    return String(said).split(',').at(-1)?.trim().toLowerCase() === 'https'
  }

  /** Whether the request comes from this machine, and not through a proxy on it. */
  isLocal(request: IncomingMessage): boolean {
    return !this.needsHeader(request.socket) && isLocal(request)
  }

  /** Whether many clients may share the address, or it is this machine's: then it cannot be used to limit anyone. */
  isShared(address: string): boolean {
    return address === '' || isLoopback(address) || this.#isTrusted(address)
  }

  #nearest(socket: Socket): string {
    return this.#namedFor(socket)?.address ?? plainAddress(socket.remoteAddress ?? '')
  }

  /** Whether a trusted proxy wrote the request; one that relays bytes without announcing the client has not written any of them. */
  #mayForward(socket: Socket): boolean {
    if (this.#trustsNobody) return false
    if (this.needsHeader(socket) && this.#namedFor(socket) === undefined) return false
    return this.#isTrusted(this.#nearest(socket))
  }

  #namedFor(socket: Socket): Announced | undefined {
    return this.#named.size === 0 ? undefined : this.#named.get(endsOf(socket))
  }

  #isTrusted(address: string): boolean {
    return !this.#trustsNobody && address !== '' && this.#trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  }
}

function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/** Over HTTP/2 each request has a `socket` of its own, a proxy for the connection's. */
function connectionOf(request: Pick<IncomingMessage, 'socket'>): object {
  const { stream } = request as { readonly stream?: Partial<ServerHttp2Stream> }
  return stream?.session ?? request.socket
}

/** What identifies one client: its IPv4 address, or in IPv6 the /64 assigned to one subscriber. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [front = '', back] = address.split('::')
  const head = groupsOf(front)
  const tail = groupsOf(back ?? '')
  const zeros = back === undefined ? [] : Array.from({ length: 8 - head.length - tail.length }, () => 0)
  const groups = [...head, ...zeros, ...tail].slice(0, 4)
  return `${groups.map((group) => group.toString(16)).join(':')}::/64`
}

/** The last two may be written as an IPv4 address. Only the number of those matters here. */
function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => (group.includes('.') ? [0, 0] : [Number.parseInt(group, 16)]))
}

/** As proxies write it: possibly with a port, in which case IPv6 is in brackets. */
function addressIn(hop: string): string | undefined {
  const [, bracketed, plain] = /^\s*(?:\[([^\]]+)\](?::\d+)?|([\d.]+)(?::\d+)?|\S+)\s*$/.exec(hop) ?? []
  const address = plainAddress(bracketed ?? plain ?? hop.trim())
  return isIP(address) === 0 ? undefined : address
}
