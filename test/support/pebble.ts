/**
 * A certificate authority for tests: Debian's pebble, with the name server of pebble-challtestsrv that gives every name the
 * address of this machine. Ends with the test.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { makeSelfSigned, type Pair } from '../../src/tls/certificate.ts'

export const hasPebble = ['pebble', 'pebble-challtestsrv'].every((name) => spawnSync('which', [name]).status === 0)
export const withoutPebble = !hasPebble && 'pebble and pebble-challtestsrv (Debian: pebble) are not here'

export interface PebbleOptions {
  /** Beside what it needs here. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string>>
}

export interface Pebble {
  readonly directoryUrl: string
  /** Where it looks for proofs. */
  readonly httpPort: number
  /** Of the name server, which is there from the beginning. */
  readonly dnsPort: number
  /** What its own HTTPS is to be trusted by. */
  readonly trusted: string
  start(options?: PebbleOptions): Promise<void>
  stop(): Promise<void>
  /** The root, in PEM, that its certificates lead to. */
  root(index?: number): Promise<string>
  /** Asks the name server for something: see `pebble-challtestsrv -help`. */
  names(call: string, body: object): Promise<void>
}

/** Made once: its key takes its time. */
let ownCertificate: Promise<Pair> | undefined

/** Not started yet. */
export async function preparePebble(t: TestContext): Promise<Pebble> {
  const directory = mkdtempSync(join(tmpdir(), 'sser-pebble-'))
  const [listen, management, httpPort, dns, control] = (await freePorts(5)) as [number, number, number, number, number]
  ownCertificate ??= makeSelfSigned(['localhost', '127.0.0.1'], Date.now())
  const { key, certificate } = await ownCertificate
  writeFileSync(join(directory, 'key.pem'), key)
  writeFileSync(join(directory, 'cert.pem'), certificate)
  const off = ['-https01', '', '-tlsalpn01', '', '-http01', '', '-defaultIPv6', '']
  const on = ['-defaultIPv4', '127.0.0.1', '-dns01', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${control}`]
  const nameServer = spawn('pebble-challtestsrv', [...off, ...on], { stdio: ['ignore', 'pipe', 'pipe'] })
  let pebble: ChildProcess | undefined
  await said(nameServer, /Starting management server/)

  async function stop(): Promise<void> {
    const child = pebble
    pebble = undefined
    if (child === undefined || child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  t.after(async () => {
    await stop()
    nameServer.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  })
  return {
    directoryUrl: `https://127.0.0.1:${listen}/dir`,
    httpPort,
    dnsPort: dns,
    trusted: certificate,
    async start({ config = {}, env = {} } = {}) {
      await stop()
      const whole = {
        pebble: {
          listenAddress: `127.0.0.1:${listen}`,
          managementListenAddress: `127.0.0.1:${management}`,
          certificate: 'cert.pem',
          privateKey: 'key.pem',
          httpPort,
          tlsPort: 1,
          ...config,
        },
      }
      writeFileSync(join(directory, 'config.json'), JSON.stringify(whole))
      pebble = spawn('pebble', ['-config', 'config.json', '-dnsserver', `127.0.0.1:${dns}`], {
        cwd: directory,
        env: { PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0', PEBBLE_WFE_NONCEREJECT: '0', ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      await said(pebble, /ACME directory available/)
    },
    stop,
    root: (index = 0) => read(`https://127.0.0.1:${management}/roots/${index}`, certificate),
    async names(call, body) {
      await fetch(`http://127.0.0.1:${control}/${call}`, { method: 'POST', body: JSON.stringify(body) })
    },
  }
}

/** Below those that the system gives to whoever asks for any, so that nobody takes one between this look and its use. */
let nextPort = 10_000 + (process.pid % 15_000)

async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = nextPort++
    const server = createServer().listen(port, '127.0.0.1')
    const isFree = await Promise.race([
      once(server, 'listening').then(() => true),
      once(server, 'error').then(() => false),
    ]).catch(() => false)
    if (!isFree) continue
    ports.push(port)
    await new Promise((resolve) => server.close(resolve))
  }
  return ports
}

/** Resolves when it has printed that; and reads what else it prints, so that it is never held up. */
function said(child: ChildProcess, words: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const hear = (chunk: Buffer) => {
      if (text.length < 100_000) text += chunk
      if (words.test(text)) resolve()
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    child.once('exit', () => reject(new Error(`it has ended: ${text}`)))
    child.once('error', reject)
  })
}

function read(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { ca, agent: false }, async (response) => {
      let text = ''
      for await (const part of response.setEncoding('utf8')) text += part
      resolve(text)
    }).once('error', reject)
  })
}
