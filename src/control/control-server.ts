// The server's end of the control socket, through which commands on the same machine reach a running server: its figures, its
// log pinned for a copy, compaction on demand, the current certificate and an order for another. Open to whoever may enter the
// data folder as its owner, and to nobody else: it cannot be reached over the network. Promises that a pin ends with the
// connection that requested it, however that ends, and that requests cost a bounded amount of every resource.
import { chmod, rename, rm } from 'node:fs/promises'
import net from 'node:net'
import { join } from 'node:path'
import { type Log, StorageError } from '../../storage-engine/index.ts'
import type { OrderOutcome, TlsStatus } from '../tls/status.ts'
import { CONTROL_SOCKET_NAME, type ControlReply, decodeCommand, encodeReply, type LiveFigures } from './protocol.ts'
import { SocketFolder } from './socket-address.ts'

/** What commands can reach of the server: its durable log. */
export type ControlHost = Pick<Log, 'statistics' | 'pin' | 'compact'>

/** What they can reach of its certificates. */
export interface ControlCertificates {
  status(): Promise<TlsStatus>
  /** Undefined where certificates are not ordered. */
  renew(): Promise<OrderOutcome | undefined>
}

export interface ControlServer {
  /** From now on commands reach the log; until then they are told that it is being read. */
  serveLog(log: ControlHost): void
  /** Ends every connection, and with it every pin. Idempotent. */
  close(): Promise<void>
}

const CONNECTIONS_MAX = 16
/** Each keeps obsolete files on the disk. */
const PINS_MAX = 4
const COMMAND_BYTES_MAX = 1024
/** A client that connects is expected to send its command. */
const COMMAND_TIMEOUT_MS = 10_000
/** Progress reports are skipped for a client that does not read. */
const WAITING_BYTES_MAX = 64 * 1024

/**
 * Listens in `directory`, whose lock the caller holds: a socket found there belongs to a dead server, and is replaced. Rejects
 * with the system's errors, and with SocketPathTooLong.
 */
export async function startControlServer(
  directory: string,
  certificates?: ControlCertificates,
): Promise<ControlServer> {
  const folder = await SocketFolder.open(directory)
  const control = new Control(certificates)
  const path = join(directory, CONTROL_SOCKET_NAME)
  try {
    // It gets its final name only once it has its mode.
    const newName = `${CONTROL_SOCKET_NAME}.new`
    await rm(join(directory, newName), { force: true })
    await control.listen(folder.address(newName))
    await chmod(join(directory, newName), 0o600)
    await rename(join(directory, newName), path)
  } catch (error) {
    await control.close()
    await folder.close()
    throw error
  }
  let closing: Promise<void> | undefined
  return {
    serveLog: (log) => control.serveLog(log),
    close() {
      // A socket that cannot be removed must not keep the log from being closed; the next server replaces it.
      closing ??= rm(path, { force: true })
        .catch(() => undefined)
        .then(() => control.close())
        .finally(() => folder.close())
      return closing
    },
  }
}

class Control {
  #log: ControlHost | undefined
  readonly #certificates: ControlCertificates | undefined
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()
  #pins = 0

  constructor(certificates: ControlCertificates | undefined) {
    this.#certificates = certificates
    this.#server = net.createServer((socket) => this.#serve(socket))
    this.#server.maxConnections = CONNECTIONS_MAX
  }

  serveLog(log: ControlHost): void {
    this.#log = log
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ path, exclusive: true }, () => {
        this.#server.off('error', reject)
        // A connection that could not be accepted is its client's concern.
        this.#server.on('error', () => undefined)
        // The socket alone must not keep the process alive.
        this.#server.unref()
        resolve()
      })
    })
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    return new Promise((resolve) => {
      this.#server.close(() => resolve())
    })
  }

  #serve(socket: net.Socket): void {
    this.#sockets.add(socket)
    let line = ''
    socket.setEncoding('utf8')
    // 'close' reports the end of a connection; its cause does not matter.
    socket.on('error', () => undefined)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.setTimeout(COMMAND_TIMEOUT_MS, () => socket.destroy())
    const onData = (text: string) => {
      line += text
      const end = line.indexOf('\n')
      if (end === -1 && line.length <= COMMAND_BYTES_MAX) return
      socket.off('data', onData)
      socket.resume()
      socket.setTimeout(0)
      void this.#answer(socket, line.slice(0, Math.max(0, end)))
    }
    socket.on('data', onData)
  }

  /** Never rejects: a command's failure is its reply. */
  async #answer(socket: net.Socket, line: string): Promise<void> {
    try {
      const command = decodeCommand(line)
      switch (command) {
        case 'info':
        case 'pin':
        case 'compact':
          return await this.#askLog(socket, command)
        case 'certificate':
          return end(socket, {
            kind: 'certificate',
            live: { pid: process.pid, tls: await this.#certificates?.status() },
          })
        case 'renew':
          return await this.#renew(socket)
        default:
          return end(
            socket,
            refused('UNKNOWN_COMMAND', 'The server does not know this command: it is of another version.'),
          )
      }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      end(socket, refused(error instanceof StorageError ? error.code : 'FAILED', message))
    }
  }

  async #askLog(socket: net.Socket, command: 'info' | 'pin' | 'compact'): Promise<void> {
    const log = this.#log
    if (log === undefined) {
      const message = 'The server is starting and still reads its log; GET /readyz says how far it is. Try again then.'
      return end(socket, refused('BUSY', message))
    }
    if (command === 'info') return end(socket, { kind: 'info', figures: figuresOf(log) })
    return await (command === 'pin' ? this.#pin(socket, log) : compact(socket, log))
  }

  async #pin(socket: net.Socket, log: ControlHost): Promise<void> {
    if (this.#pins >= PINS_MAX) {
      const message = `The log is being copied or read by ${this.#pins} others already. Try again when one is through.`
      return end(socket, refused('BUSY', message))
    }
    this.#pins += 1
    try {
      const { release, ...pinned } = await log.pin()
      try {
        socket.write(encodeReply({ kind: 'pinned', pinned }))
        await closed(socket)
      } finally {
        release()
      }
    } finally {
      this.#pins -= 1
    }
  }

  /** Continues even if the client has gone away. */
  async #renew(socket: net.Socket): Promise<void> {
    const outcome = await this.#certificates?.renew()
    if (outcome !== undefined) return end(socket, { kind: 'renewed', outcome })
    end(socket, refused('OFF', 'The server that runs orders no certificates: it was started with other settings.'))
  }
}

function figuresOf(log: ControlHost): LiveFigures {
  return { pid: process.pid, uptimeMs: Math.round(process.uptime() * 1000), statistics: log.statistics() }
}

async function compact(socket: net.Socket, log: ControlHost): Promise<void> {
  if (log.statistics().compaction === undefined) {
    return end(socket, refused('OFF', 'Compaction is switched off (log.compaction.enabled).'))
  }
  const report = await log.compact((soFar) => {
    if (socket.writableLength > WAITING_BYTES_MAX || socket.destroyed) return
    socket.write(encodeReply({ kind: 'progress', report: soFar }))
  })
  end(socket, { kind: 'compacted', report })
}

function refused(code: string, message: string): ControlReply {
  return { kind: 'refused', code, message }
}

function end(socket: net.Socket, reply: ControlReply): void {
  socket.end(encodeReply(reply))
}

/** Resolves when the other side is gone, or this one was closed. */
function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) return resolve()
    socket.once('close', () => resolve())
  })
}
