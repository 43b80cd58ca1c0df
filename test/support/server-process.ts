/**
 * The server as a user starts it: the built program in a process and folders of its own. For tests and benchmarks that
 * need real sockets, real signals and a real disk.
 *
 * It promises that nothing stays behind, however the test ends: no process, no folder. It reaches the server by its
 * command line, environment, log lines and calls, and knows nothing of what is inside.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { get as getSecurely } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Settings as they stand in base.yaml, nested; JSON is YAML. */
export interface Settings {
  readonly [key: string]: string | number | boolean | Settings | readonly (string | Settings)[]
}

export interface ServerOptions {
  readonly settings?: Settings
  /** Beside PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>
  /** The data folder; without it one that is made and removed. One that is given is left to its giver. */
  readonly directory?: string
  /** A program, with arguments, that runs node: a tracer, say. */
  readonly wrapper?: readonly string[]
  readonly nodeArguments?: readonly string[]
  /** With a certificate of its own; `url` and `port` are those of HTTPS then. */
  readonly isSecure?: boolean
  /** Do not wait for /readyz. */
  readonly withoutWaiting?: boolean
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export const API_TOKEN = 'api-4f9d2c71b8e05a36'
export const METRICS_TOKEN = 'metrics-93b1e7c20d5f48aa'

/** Below the system's range for outgoing connections: a client that knocks while nobody listens never meets itself. */
const PORT_FIRST = 20_000
const PORTS = 12_000
const START_ATTEMPTS = 20
const READY_MS_MAX = 60_000
const POLL_MS = 5
const LINES_KEPT_MAX = 5_000

export class ServerProcess {
  readonly directory: string
  readonly apiToken = API_TOKEN
  readonly metricsToken = METRICS_TOKEN
  /** All that it printed, on both channels, line by line, over all of its lives. */
  readonly lines: string[] = []
  readonly #options: ServerOptions
  readonly #home: string
  readonly #mainPath: string
  #port = 0
  /** Where it sends to HTTPS. */
  #plainPort = 0
  #child: ChildProcess | undefined
  #exited: Promise<Exit> = Promise.resolve({ code: 0, signal: null })
  #rssKbPeak = 0

  private constructor(options: ServerOptions, mainPath: string) {
    this.#options = options
    this.#mainPath = mainPath
    this.#home = mkdtempSync(join(tmpdir(), 'sser-server-'))
    this.directory = options.directory ?? join(this.#home, 'data')
    const config = join(this.#home, 'config')
    mkdirSync(config)
    writeFileSync(join(config, 'base.yaml'), JSON.stringify(options.settings ?? {}))
    running.add(this)
  }

  /** Resolves when it is ready, or, `withoutWaiting`, when it was started. */
  static async start(options: ServerOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess(options, builtMain())
    try {
      for (let attempt = 1; ; attempt++) {
        server.#port = PORT_FIRST + Math.floor(Math.random() * PORTS)
        server.#plainPort = server.#port + 1
        server.#spawn()
        if (options.withoutWaiting) return server
        try {
          await server.ready()
          return server
        } catch (error) {
          if (attempt === START_ATTEMPTS || !server.lines.some((line) => line.includes('EADDRINUSE'))) throw error
          server.lines.length = 0
        }
      }
    } catch (error) {
      await server.close()
      throw error
    }
  }

  get url(): string {
    return `http${this.#options.isSecure ? 's' : ''}://127.0.0.1:${this.#port}`
  }

  get port(): number {
    return this.#port
  }

  /** Of the process that was started: the wrapper, where there is one. */
  get pid(): number {
    assert(this.#child?.pid !== undefined, 'the server runs')
    return this.#child.pid
  }

  /** How the latest process ended; pending while it runs. */
  get exited(): Promise<Exit> {
    return this.#exited
  }

  /** Resolves when /readyz says 200; rejects, with what the server printed, where it ends before. */
  async ready(): Promise<void> {
    const child = this.#child
    const endsAt = performance.now() + READY_MS_MAX
    for (;;) {
      if (child?.exitCode !== null || child.signalCode !== null) {
        throw new Error(`The server ended at its start:\n${this.lines.slice(-20).join('\n')}`)
      }
      if ((await this.#statusOf('/readyz')) === 200) return
      if (performance.now() > endsAt) throw new Error(`The server is not ready:\n${this.lines.slice(-20).join('\n')}`)
      await delay(POLL_MS)
    }
  }

  /** Resolves with how it ended, when it has. */
  kill(signal: NodeJS.Signals): Promise<Exit> {
    this.#noteMemory()
    this.#child?.kill(signal)
    return this.#exited
  }

  /** On the same folder and port, after the last process has ended. */
  async restart(): Promise<void> {
    await this.startAgain()
    await this.ready()
  }

  /** As `restart`, without waiting until it is ready. */
  async startAgain(): Promise<void> {
    await this.#exited
    this.#spawn()
  }

  /** Resolves with the first line, past or future, that fits; rejects when the process ends without one. */
  async line(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) => pattern.test(line))
      if (found !== undefined) return found
      const ended = await Promise.race([this.#exited, delay(POLL_MS).then(() => undefined)])
      if (ended !== undefined && !this.lines.some((line) => pattern.test(line))) {
        throw new Error(`The server ended and never said ${pattern}:\n${this.lines.slice(-20).join('\n')}`)
      }
    }
  }

  /** The memory of the process that lies in RAM now. */
  get rssBytes(): number {
    return statusKb(this.pid, 'VmRSS') * 1024
  }

  /** The most it ever was, over all lives; or since `forgetPeak`. */
  get rssBytesPeak(): number {
    this.#noteMemory()
    return this.#rssKbPeak * 1024
  }

  /** Begins the peak anew, with what is in use now. */
  forgetPeak(): void {
    this.#rssKbPeak = 0
    // 5: "reset the peak resident set size" (proc(5), clear_refs).
    writeFileSync(`/proc/${this.pid}/clear_refs`, '5')
  }

  /** Bytes that it has read by system calls, sockets included. */
  get bytesRead(): number {
    const text = readFileSync(`/proc/${this.pid}/io`, 'utf8')
    return Number(/^rchar: (\d+)$/m.exec(text)?.[1] ?? 0)
  }

  /** CPU time, of user and system together. */
  get cpuMs(): number {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
    const ticksPerSecond = 100
    return ((Number(fields[11]) + Number(fields[12])) / ticksPerSecond) * 1000
  }

  /** Ends it, whatever it does, and removes its folders. Idempotent. */
  async close(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#exited
    this.abandon()
  }

  /** As `close`, for a process that is ending itself and cannot wait. */
  abandon(): void {
    this.#child?.kill('SIGKILL')
    running.delete(this)
    rmSync(this.#home, { recursive: true, force: true })
  }

  /** Undefined: nobody answers. */
  #statusOf(path: string): Promise<number | undefined> {
    const options = { agent: false, rejectUnauthorized: false } as const
    return new Promise((resolve) => {
      const request = (this.#options.isSecure ? getSecurely : get)(`${this.url}${path}`, options, (response) => {
        response.resume()
        response.once('close', () => resolve(response.statusCode))
      })
      request.once('error', () => resolve(undefined))
    })
  }

  #spawn(): void {
    const { env = {}, wrapper = [], nodeArguments = [], isSecure = false } = this.#options
    const port = String(this.#port)
    const securely = { PORT: String(this.#plainPort), SSLPORT: port, SSER_SSL_ENABLED: 'true' }
    const [program = '', ...rest] = [...wrapper, process.execPath, ...nodeArguments, this.#mainPath]
    const child = spawn(program, rest, {
      cwd: this.#home,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        HOME: this.#home,
        ...(isSecure ? securely : { PORT: port }),
        SSER_CONFIG_DIR: join(this.#home, 'config'),
        SSER_STORAGE_DIR: this.directory,
        SSER_API_ACCESS_TOKEN: API_TOKEN,
        SSER_METRICS_ACCESS_TOKEN: METRICS_TOKEN,
        ...env,
      },
    })
    this.#child = child
    this.#exited = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve({ code, signal }))
    })
    this.#exited.catch(() => undefined)
    for (const channel of [child.stdout, child.stderr]) this.#collect(channel)
  }

  #collect(channel: NodeJS.ReadableStream): void {
    let rest = ''
    channel.setEncoding('utf8')
    channel.on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      this.lines.push(...lines)
      if (this.lines.length > LINES_KEPT_MAX) this.lines.splice(0, this.lines.length - LINES_KEPT_MAX)
    })
    channel.on('end', () => {
      if (rest !== '') this.lines.push(rest)
    })
  }

  #noteMemory(): void {
    const child = this.#child
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
    this.#rssKbPeak = Math.max(this.#rssKbPeak, statusKb(child.pid, 'VmHWM'))
  }
}

/** The program to test. SSER_MAIN names another one: that of an installed package, say. */
export function builtMain(): string {
  const given = process.env['SSER_MAIN']
  if (given !== undefined && given !== '') return given
  const mainPath = join(ROOT, 'dist', 'src', 'main.js')
  // Test files run at the same time, each in its process; one of them builds, the others wait.
  const lock = join(tmpdir(), `sser-build-${ROOT.replaceAll(/[^A-Za-z0-9]+/g, '-')}`)
  while (!isBuilt(mainPath)) {
    if (!took(lock)) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50)
      continue
    }
    try {
      if (isBuilt(mainPath)) break
      const built = spawnSync('npm', ['run', 'build'], { cwd: ROOT, encoding: 'utf8' })
      if (built.status !== 0 || !existsSync(mainPath))
        throw new Error(`The build failed:\n${built.stdout}${built.stderr}`)
      writeFileSync(builtMark(mainPath), '')
    } finally {
      rmSync(lock, { recursive: true, force: true })
    }
  }
  return mainPath
}

const BUILD_MS_MAX = 120_000

function took(lock: string): boolean {
  try {
    mkdirSync(lock)
    return true
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  // Left behind by somebody who was killed.
  const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now())
  if (age > BUILD_MS_MAX) rmSync(lock, { recursive: true, force: true })
  return false
}

/** Written when a build is whole: the compiler may have been stopped in the middle. */
function builtMark(mainPath: string): string {
  return join(mainPath, '..', '..', '.built-for-tests')
}

function isBuilt(mainPath: string): boolean {
  if (!existsSync(mainPath)) return false
  const mark = statSync(builtMark(mainPath), { throwIfNoEntry: false })?.mtimeMs ?? statSync(mainPath).mtimeMs
  return ['src', 'storage-engine'].every((folder) => newestMs(join(ROOT, folder)) <= mark)
}

function newestMs(path: string): number {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return 0
  if (!stat.isDirectory()) return /\.(ts|html|css)$/.test(path) ? stat.mtimeMs : 0
  return Math.max(0, ...readdirSync(path).map((name) => newestMs(join(path, name))))
}

function statusKb(pid: number, name: string): number {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0)
}

const running = new Set<ServerProcess>()
process.once('exit', () => {
  for (const server of running) server.abandon()
})
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => process.exit(1))
}
