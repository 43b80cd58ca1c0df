// The client's end of the control socket: sends commands to the server that runs in a data folder. Promises that nothing stays
// open after a call, except for an unreleased pin.
import net from 'node:net'
import type { CompactionReport } from '../../storage-engine/index.ts'
import type { OrderOutcome } from '../tls/status.ts'
import {
  CONTROL_SOCKET_NAME,
  type ControlCommand,
  type ControlReply,
  decodeReply,
  encodeCommand,
  type LiveCertificate,
  type LiveFigures,
  type Pinned,
} from './protocol.ts'
import { SocketFolder, SocketPathTooLong } from './socket-address.ts'

/** `ABSENT`: nobody listens; `ENDED`: the server went away before answering; otherwise the code from the server. */
export class ControlError extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'ControlError'
    this.code = code
  }
}

export interface HeldPin {
  readonly pinned: Pinned
  /** False: the server is gone, and files may be gone with it. */
  readonly isHeld: boolean
  release(): void
}

/** All of these reject with ControlError. */
export async function askInfo(directory: string): Promise<LiveFigures> {
  return (await ask(directory, 'info', 'info')).figures
}

export async function askCertificate(directory: string): Promise<LiveCertificate> {
  return (await ask(directory, 'certificate', 'certificate')).live
}

/** The order continues even if this end goes away. */
export async function askRenewal(directory: string): Promise<OrderOutcome> {
  return (await ask(directory, 'renew', 'renewed')).outcome
}

export async function askCompaction(
  directory: string,
  onProgress: (report: CompactionReport) => void,
): Promise<CompactionReport> {
  const connection = await Connection.open(directory, 'compact')
  try {
    for (;;) {
      const reply = await connection.next()
      if (reply.kind === 'compacted') return reply.report
      if (reply.kind !== 'progress') throw unexpected(reply)
      onProgress(reply.report)
    }
  } finally {
    connection.close()
  }
}

/** The log's files stay as they are until the pin is released, or this process ends. */
export async function askPin(directory: string): Promise<HeldPin> {
  const connection = await Connection.open(directory, 'pin')
  try {
    const reply = await connection.next()
    if (reply.kind !== 'pinned') throw unexpected(reply)
    return {
      pinned: reply.pinned,
      get isHeld() {
        return connection.isOpen
      },
      release: () => connection.close(),
    }
  } catch (error) {
    connection.close()
    throw error
  }
}

class Connection {
  readonly #socket: net.Socket
  readonly #lines: string[] = []
  #rest = ''
  #wake: () => void = () => undefined

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => {
      const lines = (this.#rest + text).split('\n')
      this.#rest = lines.pop() ?? ''
      this.#lines.push(...lines)
      this.#wake()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => this.#wake())
  }

  static async open(directory: string, command: ControlCommand): Promise<Connection> {
    let folder: SocketFolder | undefined
    try {
      folder = await SocketFolder.open(directory)
      const connection = new Connection(await connected(folder.address(CONTROL_SOCKET_NAME)))
      connection.#socket.write(encodeCommand(command))
      return connection
    } catch (error) {
      throw absent(error)
    } finally {
      await folder?.close()
    }
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && !this.#socket.readableEnded
  }

  async next(): Promise<ControlReply> {
    while (this.#lines.length === 0 && this.isOpen) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const line = this.#lines.shift()
    const reply = line === undefined ? undefined : decodeReply(line)
    if (reply === undefined) throw new ControlError('ENDED', 'The server stopped before it had answered.')
    return reply
  }

  close(): void {
    this.#socket.destroy()
  }
}

function connected(path: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

function absent(error: unknown): unknown {
  if (error instanceof SocketPathTooLong) return new ControlError('ABSENT', `${error.message}.`)
  if (!(error instanceof Error) || !('code' in error)) return error
  return new ControlError('ABSENT', `No server answers at the control socket there (${String(error.code)}).`)
}

/** The single reply to a command that has just one. */
async function ask<Kind extends ControlReply['kind']>(
  directory: string,
  command: ControlCommand,
  kind: Kind,
): Promise<Extract<ControlReply, { kind: Kind }>> {
  const connection = await Connection.open(directory, command)
  try {
    const reply = await connection.next()
    if (isOf(reply, kind)) return reply
    throw unexpected(reply)
  } finally {
    connection.close()
  }
}

function isOf<Kind extends ControlReply['kind']>(
  reply: ControlReply,
  kind: Kind,
): reply is Extract<ControlReply, { kind: Kind }> {
  return reply.kind === kind
}

function unexpected(reply: ControlReply): ControlError {
  if (reply.kind === 'refused') return new ControlError(reply.code, reply.message)
  return new ControlError('UNEXPECTED', `The server has answered with "${reply.kind}": it is of another version.`)
}
