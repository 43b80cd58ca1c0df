/**
 * Real folders with small logs in them, and the commands on them as a person would run them, in this process.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after } from 'node:test'
import type { CliHost } from '../../src/cli/host.ts'
import { runProgram } from '../../src/cli/program.ts'
import {
  EVENT_PUBLISHED,
  encodeEvent,
  encodeTopicCreated,
  encodeTopicDeleted,
  TOPIC_CREATED,
  TOPIC_DELETED,
} from '../../src/domain/entry.ts'
import { formatEventId } from '../../src/domain/event-id.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { CATALOG_STREAM, DiskFiles, Log, Sequencer, silentObserver } from '../../storage-engine/index.ts'
import { silentHost } from './silent-host.ts'

export const root = mkdtempSync(join(tmpdir(), 'sser-log-command-'))
after(() => rmSync(root, { recursive: true }))

export const TOKEN_HASH = Buffer.alloc(32, 0xab)
const BEGIN_MS = Date.UTC(2026, 0, 1)
/** More than a double can hold. */
export const HUGE = '{"n":12345678901234567890123}'

export interface Made {
  /** A data folder, with the log in it. */
  readonly data: string
  readonly log: string
  readonly topic: string
  readonly other: string
  /** Of the events, in order. */
  readonly ids: readonly string[]
}

let folders = 0

/** One that is not there yet. */
export function newFolder(): string {
  folders += 1
  return join(root, String(folders))
}

/** Two topics that live and one that was deleted; events an hour apart, in small segments. */
export async function makeData(): Promise<Made> {
  const data = newFolder()
  const directory = join(data, 'log')
  let nowMs = BEGIN_MS
  const log = await Log.open(new DiskFiles(), new Sequencer(), silentObserver, directory, {
    sync: 'never',
    syncIntervalMs: 1000,
    segmentBytesMax: 2048,
    batchBytesMax: 2 ** 20,
    pendingBytesMax: 2 ** 24,
    blockCacheBytesMax: 2 ** 20,
    pageCacheBytesMax: 2 ** 18,
    reserveBytes: 4096,
    isDurable: true,
    now: () => nowMs,
  })
  const create = (name: string | undefined) =>
    log.append({
      streamId: CATALOG_STREAM,
      kind: TOPIC_CREATED,
      payload: encodeTopicCreated({ tokenSha256: TOKEN_HASH, name, retention: unlimited, createdAtMs: nowMs }),
    })
  const [topic, other, gone] = [await create('orders'), await create(undefined), await create('gone')]
  await log.append({ streamId: CATALOG_STREAM, kind: TOPIC_DELETED, payload: encodeTopicDeleted({ topic: gone }) })
  const ids: string[] = []
  for (let i = 0; i < 40; i += 1) {
    nowMs = BEGIN_MS + i * 3_600_000
    const isString = i % 2 === 0
    const message = Buffer.from(isString ? `Hello ${i}, "you"` : HUGE)
    const payload = encodeEvent({ isString, type: Buffer.from(i % 4 === 0 ? 'greeting' : ''), message })
    const key = i % 5 === 0 ? Buffer.from(`mine-${i}`) : undefined
    ids.push(
      formatEventId(await log.append({ streamId: i % 3 === 0 ? other : topic, kind: EVENT_PUBLISHED, key, payload })),
    )
  }
  await log.close()
  writeFileSync(join(data, 'LOCK'), '')
  return { data, log: directory, topic: formatEventId(topic), other: formatEventId(other), ids }
}

/** Sockets cannot be copied, and say nothing in a copy. */
export function copyData(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !basename(path).startsWith('LOCK.') })
}

export function copyOf(made: Made): Made {
  const data = newFolder()
  copyData(made.data, data)
  return { ...made, data, log: join(data, 'log') }
}

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly isTTY?: boolean
  readonly acquireLock?: CliHost['acquireLock']
  readonly ask?: CliHost['ask']
  readonly stdout?: NodeJS.WritableStream
}

export async function run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { cwd = root, env = {}, isTTY = false, acquireLock, ask } = options
  const read = new PassThrough()
  let out = ''
  let err = ''
  read.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  const stderr = {
    isTTY,
    write: (text: string) => {
      err += text
    },
  }
  const host = silentHost({ cwd, env, stdout: options.stdout ?? read, stderr, acquireLock, ask })
  const code = await runProgram(['log', ...args], host)
  return { code, out, err }
}

export function linesOf({ out }: Ran): Record<string, unknown>[] {
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

/** One bit of the message with that number. */
export function spoilEvent({ log }: Made, number: number): string {
  for (const name of readdirSync(log).filter((one) => one.endsWith('.log'))) {
    const bytes = readFileSync(join(log, name))
    const at = bytes.indexOf(`Hello ${number},`)
    if (at === -1) continue
    bytes[at]! ^= 1
    writeFileSync(join(log, name), bytes)
    return name
  }
  throw new Error(`no event ${number}`)
}

export function logFiles(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => !name.startsWith('LOCK'))
    .map((name) => `${name} ${readFileSync(join(directory, name), 'base64')}`)
}
