// The protocol of the control socket: one line of JSON from the client, and lines of JSON in reply. Pure; shared by both ends.
import type { CompactionReport, LogStatistics, PinnedLog } from '../../storage-engine/index.ts'
import type { OrderOutcome, TlsStatus } from '../tls/status.ts'

export const CONTROL_SOCKET_NAME = 'control.sock'

export type ControlCommand = 'info' | 'pin' | 'compact' | 'certificate' | 'renew'
const commands: readonly string[] = ['info', 'pin', 'compact', 'certificate', 'renew'] satisfies ControlCommand[]

/** What a running server knows beyond its files. */
export interface LiveFigures {
  readonly pid: number
  readonly uptimeMs: number
  readonly statistics: LogStatistics
}

/** The certificate that a running server shows to new connections. */
export interface LiveCertificate {
  readonly pid: number
  /** Undefined without TLS. */
  readonly tls: TlsStatus | undefined
}

export type Pinned = Omit<PinnedLog, 'release'>

export type ControlReply =
  | { readonly kind: 'info'; readonly figures: LiveFigures }
  /** It holds as long as the connection does. */
  | { readonly kind: 'pinned'; readonly pinned: Pinned }
  | { readonly kind: 'progress'; readonly report: CompactionReport }
  | { readonly kind: 'compacted'; readonly report: CompactionReport }
  | { readonly kind: 'certificate'; readonly live: LiveCertificate }
  | { readonly kind: 'renewed'; readonly outcome: OrderOutcome }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string }

export function encodeCommand(command: ControlCommand): string {
  return `${JSON.stringify({ command })}\n`
}

/** Undefined for anything that is not a command of this version. */
export function decodeCommand(line: string): ControlCommand | undefined {
  const value = parsed(line)
  const command = typeof value === 'object' && value !== null && 'command' in value ? value.command : undefined
  return typeof command === 'string' && commands.includes(command) ? (command as ControlCommand) : undefined
}

export function encodeReply(reply: ControlReply): string {
  return `${JSON.stringify(reply, (_key, value: unknown) => (isBytes(value) ? { base64: base64Of(value) } : value))}\n`
}

/** From a server of this version, trusted as much as the folder that holds its socket. Undefined for an incomplete line. */
export function decodeReply(line: string): ControlReply | undefined {
  return parsed(line, (_key, value) => (isBase64(value) ? Buffer.from(value.base64, 'base64') : value)) as
    | ControlReply
    | undefined
}

function parsed(line: string, reviver?: (key: string, value: unknown) => unknown): unknown {
  try {
    return JSON.parse(line, reviver)
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

/** A replacer sees a Buffer only after it has been converted by its toJSON. */
function isBytes(value: unknown): value is Uint8Array | { readonly type: 'Buffer'; readonly data: readonly number[] } {
  if (value instanceof Uint8Array) return true
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value
}

function base64Of(value: Uint8Array | { readonly data: readonly number[] }): string {
  return Buffer.from(value instanceof Uint8Array ? value : Uint8Array.from(value.data)).toString('base64')
}

function isBase64(value: unknown): value is { readonly base64: string } {
  return typeof value === 'object' && value !== null && 'base64' in value && typeof value.base64 === 'string'
}
