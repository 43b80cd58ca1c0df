/**
 * A proxy in front of a server that cuts each connection after some bytes of the answer, as networks do. It speaks
 * HTTP/1.0 to the server, so that the bytes of a stream come unframed and the end of a connection is an orderly end of the
 * stream for any client: what a client makes of a broken chunk is not what these tests are about.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export class CuttingProxy {
  /** Connections so far. */
  connections = 0
  /** Bytes of streams that have passed so far. */
  bytes = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server) {
    this.#server = server
  }

  /** `cutAfterBytes` is asked for each connection: how many bytes behind the head pass; undefined: all. */
  static async start(targetPort: number, cutAfterBytes: () => number | undefined): Promise<CuttingProxy> {
    const server = createServer((client) => proxy.#serve(client, targetPort, cutAfterBytes()))
    const proxy = new CuttingProxy(server)
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => {
      this.#server.close(resolve)
    })
  }

  #serve(client: Socket, targetPort: number, cutAfterBytes: number | undefined): void {
    this.connections += 1
    const target = connect(targetPort, '127.0.0.1')
    for (const socket of [client, target]) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.once('close', () => {
        this.#sockets.delete(socket)
        client.destroySoon()
        target.destroy()
      })
    }
    let leftBytes = cutAfterBytes ?? Number.POSITIVE_INFINITY
    let head = Buffer.alloc(0)
    let isHeadSent = false
    client.on('data', (bytes: Buffer) =>
      target.write(bytes.toString('latin1').replace(' HTTP/1.1\r\n', ' HTTP/1.0\r\n'), 'latin1'),
    )
    target.on('data', (bytes: Buffer) => {
      let body = bytes
      if (!isHeadSent) {
        head = Buffer.concat([head, bytes])
        const end = head.indexOf('\r\n\r\n')
        if (end === -1) return
        isHeadSent = true
        client.write(head.subarray(0, end + 4))
        body = head.subarray(end + 4)
      }
      const passed = body.subarray(0, leftBytes)
      leftBytes -= passed.length
      this.bytes += passed.length
      client.write(passed)
      if (leftBytes === 0) target.destroy()
    })
  }
}
