/**
 * The connections of the load processes: bare sockets, with TLS or without, that read into one buffer for all; and, over one
 * with TLS, streams of HTTP/2. As the load shares the machine with what it measures, it counts frames and does not
 * understand them: windows are as large as can be from the beginning, and heads of answers are not unpacked.
 */
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import {
  acknowledged,
  FrameReader,
  frame,
  frameOf,
  type Piece,
  preface,
  setting,
  settingsOf,
  windowDefault,
  windowMax,
  windowUpdateOf,
} from '../support/http2-frames.ts'

export type Transport = 'plain' | 'tls' | 'http2'

const received = Buffer.allocUnsafeSlow(256 * 1024)
const nothing = Buffer.alloc(0)

/** `onBytes` is called with what came, up to `end`; the buffer is everybody's, and valid until it returns. */
export function openConnection(
  port: number,
  transport: Transport,
  onBytes: (bytes: Buffer, end: number) => void,
): Socket {
  const options = {
    host: '127.0.0.1',
    port,
    noDelay: true,
    onread: {
      buffer: received,
      callback: (end: number) => {
        onBytes(received, end)
        return true
      },
    },
  }
  if (transport === 'plain') return connect(options)
  const ALPNProtocols = [transport === 'tls' ? 'http/1.1' : 'h2']
  // The server's own certificate, which nobody vouches for.
  return connectTls({ ...options, rejectUnauthorized: false, ALPNProtocols } as never)
}

export class Http2Connection {
  readonly socket: Socket
  #nextStream = 1
  /** Of a frame that is neither of the two, as far as it has come. */
  #content: Buffer = nothing

  /** `onPiece`: of frames of DATA and HEADERS. */
  constructor(port: number, onPiece: (piece: Piece, bytes: Buffer, begin: number, end: number) => void) {
    const reader = new FrameReader((piece, bytes, begin, end) => {
      if (piece.type === frame.data || piece.type === frame.headers) onPiece(piece, bytes, begin, end)
      else this.#onControl(piece, bytes.subarray(begin, end))
    })
    this.socket = openConnection(port, 'http2', (bytes, end) => reader.read(bytes, end))
    const settings = settingsOf([setting.enablePush, 0], [setting.initialWindowSize, windowMax])
    this.socket.write(Buffer.concat([preface, settings, windowUpdateOf(0, windowMax - windowDefault)]))
  }

  /** Sends these frames on a stream of its own, whose number it writes into them. */
  request(...frames: readonly Buffer[]): number {
    const stream = this.#nextStream
    this.#nextStream += 2
    const bytes = Buffer.concat(frames)
    for (let at = 0; at < bytes.length; at += 9 + bytes.readUIntBE(at, 3)) bytes.writeUInt32BE(stream, at + 5)
    this.socket.write(bytes)
    return stream
  }

  #onControl({ type, flags, stream, isLast }: Piece, part: Buffer): void {
    const content = Buffer.concat([this.#content, part])
    this.#content = isLast ? nothing : content
    if (!isLast) return
    if (type === frame.goaway || type === frame.reset)
      this.socket.destroy(new Error(`The server has ended ${stream === 0 ? 'a connection' : `stream ${stream}`}.`))
    else if ((flags & acknowledged) !== 0) return
    else if (type === frame.settings) this.socket.write(frameOf(frame.settings, acknowledged, 0))
    else if (type === frame.ping) this.socket.write(frameOf(frame.ping, acknowledged, 0, content))
  }
}
