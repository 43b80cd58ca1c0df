/**
 * HTTP/2 as bytes (RFC 9113): frames to send, and a reader that says of what came which frame it belongs to. For attacks, which
 * no library would send, and for loads, which no library makes as cheaply. Heads are HPACK without its table and without
 * Huffman's code, so that no byte depends on what was sent before.
 */

export const frame = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const
export const endStream = 1
export const endHeaders = 4
/** Of SETTINGS and PING. */
export const acknowledged = 1
export const setting = { headerTableSize: 1, enablePush: 2, initialWindowSize: 4, maxFrameSize: 5 } as const
export const windowMax = 2 ** 31 - 1
export const windowDefault = 65_535

export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

const headBytes = 9
const nothing = new Uint8Array(0)

export function frameOf(type: number, flags: number, stream: number, payload: Uint8Array = nothing): Buffer {
  const bytes = Buffer.alloc(headBytes + payload.length)
  bytes.writeUIntBE(payload.length, 0, 3)
  bytes[3] = type
  bytes[4] = flags
  bytes.writeUInt32BE(stream, 5)
  bytes.set(payload, headBytes)
  return bytes
}

export function settingsOf(...settings: readonly (readonly [identifier: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(6 * settings.length)
  for (const [index, [identifier, value]] of settings.entries()) {
    payload.writeUInt16BE(identifier, 6 * index)
    payload.writeUInt32BE(value, 6 * index + 2)
  }
  return frameOf(frame.settings, 0, 0, payload)
}

export function windowUpdateOf(stream: number, bytes: number): Buffer {
  return frameOf(frame.windowUpdate, 0, stream, uint32(bytes))
}

export function resetOf(stream: number, code: number): Buffer {
  return frameOf(frame.reset, 0, stream, uint32(code))
}

/** The content of a HEADERS frame: each a literal that is not kept (RFC 7541, section 6.2.2). */
export function headOf(headers: Readonly<Record<string, string>>): Buffer {
  const fields = Object.entries(headers).map(([name, value]) =>
    Buffer.concat([Buffer.from([0]), stringOf(name), stringOf(value)]),
  )
  return Buffer.concat(fields)
}

/** To be called with what comes, in order, for each piece of a frame that is in it. */
export type OnPiece = (piece: Piece, bytes: Buffer, begin: number, end: number) => void

export interface Piece {
  readonly type: number
  readonly flags: number
  readonly stream: number
  /** It is the last one of its frame. */
  readonly isLast: boolean
}

/** Keeps nothing of what it reads but the head of the frame that it is in. The `Piece` is the same object each time. */
export class FrameReader {
  readonly #onPiece: OnPiece
  readonly #head = Buffer.alloc(headBytes)
  readonly #piece = { type: 0, flags: 0, stream: 0, isLast: false }
  #headRead = 0
  #left = 0

  constructor(onPiece: OnPiece) {
    this.#onPiece = onPiece
  }

  /** `bytes` up to `end`. */
  read(bytes: Buffer, end: number): void {
    for (let at = 0; at < end; ) {
      if (this.#headRead < headBytes) {
        at += this.#readHead(bytes, at, end)
        if (this.#headRead < headBytes) return
      }
      const pieceEnd = Math.min(end, at + this.#left)
      this.#left -= pieceEnd - at
      this.#piece.isLast = this.#left === 0
      if (this.#piece.isLast) this.#headRead = 0
      this.#onPiece(this.#piece, bytes, at, pieceEnd)
      // A frame that is cut just behind its head has a piece of no bytes, and goes on with the next ones.
      at = pieceEnd
    }
  }

  #readHead(bytes: Buffer, at: number, end: number): number {
    const head = this.#head
    const read = bytes.copy(head, this.#headRead, at, Math.min(end, at + headBytes - this.#headRead))
    this.#headRead += read
    if (this.#headRead < headBytes) return read
    this.#left = head.readUIntBE(0, 3)
    this.#piece.type = head[3]!
    this.#piece.flags = head[4]!
    this.#piece.stream = head.readUInt32BE(5) & windowMax
    return read
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** RFC 7541, section 5.2: its length, in 7 bits or more, and its bytes. */
function stringOf(text: string): Buffer {
  const bytes = Buffer.from(text)
  const length: number[] = []
  if (bytes.length < 127) {
    length.push(bytes.length)
  } else {
    length.push(127)
    let rest = bytes.length - 127
    for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128)
    length.push(rest)
  }
  return Buffer.concat([Buffer.from(length), bytes])
}
