/** Headers of the PROXY protocol as a proxy writes them, byte by byte from its specification. */

const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]

/** Any header of version 2; `length` is what it says of itself. */
export function header2(command: number, family: number, content: readonly number[], length = content.length): Buffer {
  return Buffer.from([...signature, command, family, length >> 8, length & 0xff, ...content])
}

/** Of a client with that IPv4 address. `fields`: what stands behind the addresses. */
export function headerOf(address: string, fields: readonly number[] = []): Buffer {
  return header2(0x21, 0x11, [...address.split('.').map(Number), 192, 0, 2, 9, 0xab, 0xcd, 0x01, 0xbb, ...fields])
}

/** Of a client with that IPv6 address, given as its 16 bytes. */
export function header6Of(address: readonly number[], fields: readonly number[] = []): Buffer {
  return header2(0x21, 0x21, [...address, ...address.toReversed(), 0xab, 0xcd, 0x01, 0xbb, ...fields])
}

/** PP2_TYPE_SSL as HAProxy writes it; `client`: 1, where the client has spoken TLS to it. A name within it tells the version. */
export function tlsField(client: number): readonly number[] {
  return [0x20, 0, 15, client, 0, 0, 0, 0, 0x21, 0, 7, ...Buffer.from('TLSv1.3')]
}

/** The proxy speaks for itself. */
export const localHeader = header2(0x20, 0x00, [])
