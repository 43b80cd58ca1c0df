// Whether the two ports are free, or belong to the running server; and what answers on the plain one while the names are checked,
// the way an authority is answered.
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer, request, type Server } from 'node:http'
import { createServer as createNetServer, type Server as NetServer } from 'node:net'
import { connect } from 'node:tls'
import type { Config } from '../../../config/config.ts'
import type { LiveCertificate } from '../../../control/protocol.ts'
import { AcmeCache } from '../../../tls/acme-cache.ts'
import { systemCodeOf } from '../../host.ts'
import { leaveToOwner } from '../../log/log-folder.ts'
import { doubt, type Finding, good, problem } from './finding.ts'

type Address = Config['server']['addr']

/** A question that only the server of this configuration can answer. */
export interface Probe {
  readonly path: string
  readonly answer: string
}

const ASK_TIMEOUT_MS = 5000
const ANSWER_BYTES_MAX = 4096

export interface PlainPort {
  readonly finding: Finding
  readonly probe: Probe
  /** After this, nothing answers the probe any more. */
  close(): Promise<void>
}

export async function checkPlainPort(addr: Address, cacheDir: string): Promise<PlainPort> {
  const token = randomBytes(32).toString('base64url')
  const answer = `${token}.${createHash('sha256').update(token).digest('base64url')}`
  const probe = { path: `/.well-known/acme-challenge/${token}`, answer }
  const server = createHttpServer((asked, response) => {
    response.writeHead(asked.url === probe.path ? 200 : 404, { connection: 'close' })
    response.end(asked.url === probe.path ? answer : undefined)
  })
  const words = await listenWords(server, addr)
  if (words === undefined) {
    const finding = good(portName(addr), 'It is free.')
    return { finding, probe, close: () => ended(server) }
  }
  if (words.code !== 'EADDRINUSE') return { finding: words.finding, probe, close: async () => undefined }
  // A running server of this configuration answers with what it finds in its folder.
  const cache = new AcmeCache(cacheDir)
  const isShown = await isKept(cache, token, answer)
  const close = async () => {
    if (isShown) await cache.hide(token)
  }
  const isOurs = (await asked(localHost(addr), addr.port, 'localhost', probe)) === 'answered'
  const finding = isOurs ? good(portName(addr), 'The server that runs has it.') : words.finding
  return { finding, probe, close }
}

/** False where the folder is missing or not writable: then no server of this configuration is running. */
async function isKept(cache: AcmeCache, token: string, answer: string): Promise<boolean> {
  try {
    await cache.show(token, answer)
    // A server that runs as another user could not read a file written by root.
    await leaveToOwner(cache.directory, (name) => name.endsWith(token))
    return true
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error
    return false
  }
}

export async function checkSecurePort(addr: Address, live: LiveCertificate | undefined): Promise<Finding> {
  const server = createNetServer()
  const words = await listenWords(server, addr)
  if (words === undefined) {
    await ended(server)
    return good(portName(addr), 'It is free.')
  }
  const fingerprint = live?.tls?.certificate?.fingerprint
  if (words.code !== 'EADDRINUSE' || fingerprint === undefined) return words.finding
  const isOurs = (await shownAt(localHost(addr), addr.port)) === fingerprint
  return isOurs ? good(portName(addr), 'The server that runs has it, and shows its certificate.') : words.finding
}

/** `answered`: by the intended server; `other`: by something else; otherwise the system's error code. */
export function asked(address: string, port: number, host: string, { path, answer }: Probe): Promise<string> {
  return new Promise((resolve) => {
    const asking = request(
      { host: address, port, path, headers: { host }, agent: false, timeout: ASK_TIMEOUT_MS },
      async (response) => {
        let text = ''
        try {
          for await (const part of response.setEncoding('utf8')) {
            text += part
            if (text.length > ANSWER_BYTES_MAX) break
          }
        } catch (error) {
          resolve(systemCodeOf(error) ?? 'other')
        }
        resolve(response.statusCode === 200 && text === answer ? 'answered' : 'other')
      },
    )
    asking.once('timeout', () => asking.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })))
    asking.once('error', (error) => resolve(systemCodeOf(error) ?? error.message))
    asking.end()
  })
}

/** The certificate's fingerprint; undefined where there is no handshake. */
function shownAt(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, rejectUnauthorized: false, timeout: ASK_TIMEOUT_MS }, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256)
      socket.destroy()
    })
    socket.once('timeout', () => socket.destroy())
    socket.once('error', () => resolve(undefined))
    socket.once('close', () => resolve(undefined))
  })
}

/** Undefined: it is listening now. */
async function listenWords(
  server: Server | NetServer,
  addr: Address,
): Promise<{ readonly code: string; readonly finding: Finding } | undefined> {
  server.listen(addr)
  try {
    await once(server, 'listening')
    return undefined
  } catch (error) {
    const code = systemCodeOf(error) ?? String(error)
    return { code, finding: findingOf(code, addr) }
  }
}

function findingOf(code: string, addr: Address): Finding {
  const name = portName(addr)
  switch (code) {
    case 'EADDRINUSE':
      return problem(name, 'Another program has it. Stop that one, or choose another port (PORT, SSLPORT).')
    case 'EACCES':
      return problem(
        name,
        'This user may not listen there. Ports below 1024 need a right of their own: docs/https.md says how to grant it. The user that runs the server may have it.',
      )
    case 'EADDRNOTAVAIL':
      return problem(name, 'This machine has no such address. Leave the host out to listen on all of them.')
    default:
      return doubt(name, `It cannot be listened on (${code}).`)
  }
}

function portName({ host, port }: Address): string {
  return `port ${port}${host === undefined ? '' : ` of ${host}`}`
}

function localHost({ host }: Address): string {
  return host === undefined || host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
}

function ended(server: Server | NetServer): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    if ('closeAllConnections' in server) server.closeAllConnections()
  })
}
