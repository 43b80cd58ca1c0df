// The header of the PROXY protocol, with which a proxy that relays bytes announces whose they are: HAProxy's "The PROXY
// protocol", versions 1 (a line) and 2 (binary). Only the bytes: whether the sender is believed is decided elsewhere.
import { isIPv4, isIPv6, SocketAddress } from 'node:net'

export interface ProxyHeader {
  /** The header's length; what the client itself sent follows. */
  readonly bytes: number
  /** The client's; undefined: the proxy speaks for itself (a health check), or does not know it. */
  readonly address: string | undefined
  /** The client speaks TLS to the proxy, which relays what was in it. */
  readonly isSecure: boolean
}

/** For version 2: what fits into the smallest TCP segment, as the specification says; of its further fields only that of TLS is read. */
export const proxyHeaderBytesMax = 536
/** For version 1, including the line end. */
const lineBytesMax = 107

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const fixedBytes = 16
const lineStart = Buffer.from('PROXY ', 'latin1')
const lineWords = /^PROXY (TCP4|TCP6) ([\dA-Fa-f:.]+) ([\dA-Fa-f:.]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/
const portMax = 65_535

/** By the byte that gives the kind of address: TCP, UDP and Unix sockets; 0 for unspecified. */
const addressBytes: ReadonlyMap<number, number> = new Map([
  [0x00, 0],
  [0x11, 12],
  [0x12, 12],
  [0x21, 36],
  [0x22, 36],
  [0x31, 216],
  [0x32, 216],
])

/** A byte for the type, two for the length. */
const fieldHeadBytes = 3
const tlsField = 0x20

/** From what has arrived so far; undefined: it may still become a header. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader | 'malformed' | undefined {
  if (startsAs(bytes, signature)) return bytes.length < fixedBytes ? undefined : binary(bytes)
  return startsAs(bytes, lineStart) ? line(bytes) : 'malformed'
}

/** As far as both go. */
function startsAs(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length)
  return bytes.subarray(0, length).equals(start.subarray(0, length))
}

function binary(bytes: Buffer): ProxyHeader | 'malformed' | undefined {
  const command = bytes[12]
  const family = bytes[13] as number
  const length = fixedBytes + bytes.readUInt16BE(14)
  const isLocal = command === 0x20
  if ((!isLocal && command !== 0x21) || length > proxyHeaderBytesMax) return 'malformed'
  // Where a proxy speaks for itself, whatever follows is meaningless.
  const needed = isLocal ? 0 : addressBytes.get(family)
  if (needed === undefined || length < fixedBytes + needed) return 'malformed'
  if (bytes.length < length) return undefined
  if (isLocal) return { bytes: length, address: undefined, isSecure: false }
  const fields = bytes.subarray(fixedBytes + needed, length)
  return { bytes: length, address: binaryAddress(bytes, family), isSecure: saysTls(fields) }
}

function binaryAddress(bytes: Buffer, family: number): string | undefined {
  if (family === 0x11) return bytes.subarray(fixedBytes, fixedBytes + 4).join('.')
  if (family !== 0x21) return undefined
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(fixedBytes + 2 * index).toString(16))
  return canonical(groups.join(':'))
}

/** PP2_TYPE_SSL, with the bit PP2_CLIENT_SSL. A field that is cut off by the end of the header says nothing. */
function saysTls(fields: Buffer): boolean {
  for (let at = 0; at + fieldHeadBytes <= fields.length; ) {
    const end = at + fieldHeadBytes + fields.readUInt16BE(at + 1)
    if (end > fields.length) return false
    if (fields[at] === tlsField && end > at + fieldHeadBytes) return ((fields[at + fieldHeadBytes] as number) & 1) === 1
    at = end
  }
  return false
}

function line(bytes: Buffer): ProxyHeader | 'malformed' | undefined {
  const end = bytes.subarray(0, lineBytesMax).indexOf('\r\n')
  if (end === -1) return bytes.length < lineBytesMax ? undefined : 'malformed'
  const text = bytes.toString('latin1', 0, end)
  const length = end + 2
  if (/^PROXY UNKNOWN(?: |$)/.test(text)) return { bytes: length, address: undefined, isSecure: false }
  const [, family, source = '', target = '', ...ports] = lineWords.exec(text) ?? []
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6
  if (!isAddress(source) || !isAddress(target) || ports.some((port) => Number(port) > portMax)) return 'malformed'
  return { bytes: length, address: family === 'TCP4' ? source : canonical(source), isSecure: false }
}

/** Writes an IPv4-mapped address with dots, which identifies it as one. */
function canonical(address: string): string {
  return new SocketAddress({ address, family: 'ipv6' }).address
}
