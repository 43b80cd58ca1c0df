/**
 * The notations of the configuration's values: durations, sizes, addresses, origins, ids; how each is parsed and formatted. Pure
 * functions that return undefined for what they cannot parse; they know no keys and no defaults.
 */

import { isIP } from 'node:net'

export const KIB_BYTES = 1024
export const MIB_BYTES = 1024 * KIB_BYTES
export const GIB_BYTES = 1024 * MIB_BYTES
export const SECOND_MS = 1000
export const MINUTE_MS = 60 * SECOND_MS
export const HOUR_MS = 60 * MINUTE_MS

/** Topic ids are 63-bit numbers, written with these digits. */
const TOPIC_ID_END = 1n << 63n
const TOPIC_ID_CHARACTERS = 11
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

const DURATION_UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['h', HOUR_MS],
  ['m', MINUTE_MS],
  ['s', SECOND_MS],
  ['ms', 1],
]
const HOST_NAME = /^(?!-)[a-z0-9-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9-]{1,63}(?<!-))*$/
const SIZE_UNITS: readonly (readonly [unit: string, bytes: number])[] = [
  ['GiB', GIB_BYTES],
  ['MiB', MIB_BYTES],
  ['KiB', KIB_BYTES],
]

/** Where to listen. Without a host: on all addresses of the machine. Port 0: any free port. */
export interface ListenAddress {
  readonly host: string | undefined
  readonly port: number
}

/** A network, or a single address with a `prefix` of 32 or 128. */
export interface AddressRange {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
}

/** Milliseconds of `4s`, `500ms`, `1h30m`, `1.5s`. A number without a unit is not a duration. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined
  let totalMs = 0
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    const unitMs = DURATION_UNITS.find(([name]) => name === unit)?.[1]
    if (unitMs !== undefined) totalMs += Number(amount) * unitMs
  }
  return Math.round(totalMs)
}

/** The shortest form with a single unit: `30m`, not `1800s`. */
export function formatDuration(durationMs: number): string {
  const [unit, unitMs] = DURATION_UNITS.find(([, ms]) => durationMs >= ms && durationMs % ms === 0) ?? ['ms', 1]
  return `${durationMs / unitMs}${unit}`
}

/** Bytes of `4096`, `64KiB`, `1MiB`, `2GiB`. */
export function parseBytes(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,15}) ?(B|KiB|MiB|GiB)?$/.exec(text) ?? []
  if (amount === undefined) return undefined
  return Number(amount) * (SIZE_UNITS.find(([name]) => name === unit)?.[1] ?? 1)
}

/** Host names and addresses, comma-separated, in lower case, without duplicates. */
export function parseHosts(text: string): readonly string[] | undefined {
  const hosts = text.split(',').map((host) => host.trim().toLowerCase())
  const isHost = (host: string) => isIP(host) !== 0 || (host.length <= 253 && HOST_NAME.test(host))
  return hosts.every(isHost) ? [...new Set(hosts)] : undefined
}

/** In the largest unit that needs no fraction. */
export function formatBytes(bytes: number): string {
  const [unit, unitBytes] = SIZE_UNITS.find(([, size]) => bytes >= size && bytes % size === 0) ?? ['', 1]
  return `${bytes / unitBytes}${unit}`
}

/** `:80`, `80`, `localhost:80`, `127.0.0.1:80`, `[::1]:80`. */
export function parseAddress(text: string): ListenAddress | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([0-9A-Fa-f:.%]+)\]:|([0-9A-Za-z._-]*):)?(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  // Also false without digits: NaN is not a port.
  if (!(port <= 65_535)) return undefined
  return { host: bracketed ?? (plain || undefined), port }
}

/** `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`; not IPv4-mapped IPv6, a form in which clients' addresses never appear. */
export function parseAddressRange(text: string): AddressRange | undefined {
  const [, address = '', digits] = /^([\d.]+|[0-9A-Fa-f:]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) return undefined
  const longest = version === 4 ? 32 : 128
  const prefix = digits === undefined ? longest : Number(digits)
  return prefix <= longest ? { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' } : undefined
}

/** Whether the text is an origin as browsers send it: scheme, host and possibly a port, nothing else. */
export function isOrigin(text: string): boolean {
  return /^https?:\/\//.test(text) && URL.canParse(text) && new URL(text).origin === text
}

/** A topic's id padded to 11 characters; undefined for 0, the id of the metrics topic, and for anything that is not an id. */
export function parseTopicId(text: string): string | undefined {
  if (text.length > TOPIC_ID_CHARACTERS || !/^[0-9A-Za-z]+$/.test(text)) return undefined
  let id = 0n
  for (const character of text) id = id * 62n + BigInt(BASE62.indexOf(character))
  return id > 0n && id < TOPIC_ID_END ? text.padStart(TOPIC_ID_CHARACTERS, '0') : undefined
}

/** The wire form of a decimal number; undefined for what is not one, or begins with a zero. */
export function topicIdOfNumber(text: string): string | undefined {
  if (!/^[1-9]\d{0,18}$/.test(text)) return undefined
  let id = ''
  for (let rest = BigInt(text); rest > 0n; rest /= 62n) id = BASE62.charAt(Number(rest % 62n)) + id
  return parseTopicId(id)
}
