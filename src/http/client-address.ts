// Whose address a request comes from, and whether its client speaks HTTPS. What it says of that itself (X-Forwarded-For and
// X-Forwarded-Proto) counts only as far as it was written by proxies that the configuration trusts: anybody can send the headers.
// Where these proxies say in front of a connection whose it is (the PROXY protocol), they only hand on what stands in it, so
// that its headers are the client's words. Knows nothing of what the answer is used for.
import type { IncomingMessage } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { BlockList, isIP, isIPv6, type Socket } from 'node:net'
import { isLocal, isLoopback, plainAddress } from './is-local.ts'

/** A network, or one address, whose `prefix` then is 32 or 128. */
export interface AddressRange {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
}

export class ClientAddresses {
  readonly #trusted = new BlockList()
  readonly #trustsNobody: boolean
  readonly #needsHeaders: boolean
  /** Whose the open connections of trusted proxies are, by both ends: over TLS each has several objects, with these in common. */
  readonly #named = new Map<string, string>()
  /** Of connections whose peers speak for themselves: a list of networks is not to be searched for each of their requests. */
  readonly #limitedAs = new WeakMap<object, string | null>()

  /** `needsHeaders`: connections of trusted proxies have to begin with a header of the PROXY protocol. */
  constructor(trustedProxies: readonly AddressRange[], needsHeaders = false) {
    this.#trustsNobody = trustedProxies.length === 0
    this.#needsHeaders = needsHeaders
    for (const { address, prefix, family } of trustedProxies) this.#trusted.addSubnet(address, prefix, family)
  }

  needsHeader({ remoteAddress = '' }: Socket): boolean {
    return this.#needsHeaders && this.#isTrusted(plainAddress(remoteAddress))
  }

  /** Whose a connection is, by the header that the trusted proxy has sent in front of it. */
  learn(socket: Socket, address: string): void {
    const ends = endsOf(socket)
    this.#named.set(ends, plainAddress(address))
    socket.once('close', () => this.#named.delete(ends))
  }

  /**
   * The nearest address that is not a trusted proxy's; where all are, the farthest. IPv4 in IPv6 as IPv4. Empty where the
   * connection is gone.
   */
  of({ socket, headers }: Pick<IncomingMessage, 'socket' | 'headers'>): string {
    const forwarded = headers['x-forwarded-for']
    let address = this.#nearest(socket)
    if (forwarded === undefined || !this.#mayForward(socket)) return address
    const hops = String(forwarded).split(',')
    while (this.#isTrusted(address)) {
      const next = addressIn(hops.pop() ?? '')
      // What a trusted proxy did not write as an address ends what is known.
      if (next === undefined) break
      address = next
    }
    return address
  }

  /**
   * What the client is limited by: the network of its address; undefined where many clients may stand behind that, or
   * nobody but this machine.
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

  /** Whether the client speaks HTTPS to the trusted proxy that is the peer. What others than that say of it counts for nothing. */
  saysHttps({ socket, headers }: Pick<IncomingMessage, 'socket' | 'headers'>): boolean {
    const said = headers['x-forwarded-proto']
    if (said === undefined || !this.#mayForward(socket)) return false
    // Of several, the last one is what the peer wrote itself.
    return String(said).split(',').at(-1)?.trim().toLowerCase() === 'https'
  }

  /** Whether somebody on this machine asks, and nobody through it. */
  isLocal(request: IncomingMessage): boolean {
    return !this.needsHeader(request.socket) && isLocal(request)
  }

  /** Whether many clients may stand behind it, or nobody but this machine: such an address is no one's to be limited by. */
  isShared(address: string): boolean {
    return address === '' || isLoopback(address) || this.#isTrusted(address)
  }

  #nearest(socket: Socket): string {
    return this.#namedFor(socket) ?? plainAddress(socket.remoteAddress ?? '')
  }

  /** Whether it is a trusted proxy that wrote the request; who hands on bytes and does not say whose wrote nothing of them. */
  #mayForward(socket: Socket): boolean {
    if (this.#trustsNobody) return false
    if (this.needsHeader(socket) && this.#namedFor(socket) === undefined) return false
    return this.#isTrusted(this.#nearest(socket))
  }

  #namedFor(socket: Socket): string | undefined {
    return this.#named.size === 0 ? undefined : this.#named.get(endsOf(socket))
  }

  #isTrusted(address: string): boolean {
    return !this.#trustsNobody && address !== '' && this.#trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
  }
}

function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/** Over HTTP/2 each request has a `socket` of its own, which stands for that of the connection. */
function connectionOf(request: Pick<IncomingMessage, 'socket'>): object {
  const { stream } = request as { readonly stream?: Partial<ServerHttp2Stream> }
  return stream?.session ?? request.socket
}

/** What one client can be told from others by: its IPv4 address, or the /64 that is one subscriber's in IPv6. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [front = '', back] = address.split('::')
  const head = groupsOf(front)
  const tail = groupsOf(back ?? '')
  const zeros = back === undefined ? [] : Array.from({ length: 8 - head.length - tail.length }, () => 0)
  const groups = [...head, ...zeros, ...tail].slice(0, 4)
  return `${groups.map((group) => group.toString(16)).join(':')}::/64`
}

/** The last two may be written as an IPv4 address. Of these only their number counts here. */
function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => (group.includes('.') ? [0, 0] : [Number.parseInt(group, 16)]))
}

/** As proxies write it: perhaps with a port, and then IPv6 in brackets. */
function addressIn(hop: string): string | undefined {
  const [, bracketed, plain] = /^\s*(?:\[([^\]]+)\](?::\d+)?|([\d.]+)(?::\d+)?|\S+)\s*$/.exec(hop) ?? []
  const address = plainAddress(bracketed ?? plain ?? hop.trim())
  return isIP(address) === 0 ? undefined : address
}
