// `sser log info`, `sser log verify`, `sser log dump`: what an operator looks into a stopped log with. Promises to change
// nothing in the log, to hold the folder's lock while it reads, or to say that it cannot, and an exit code that says what
// was found. What is damage, and what a crash leaves, is the storage engine's to decide.
import { createHash } from 'node:crypto'
import { lchown, lstat, readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import {
  acquireDirectoryLock,
  CATALOG_STREAM,
  type DirectoryLock,
  DiskFiles,
  EVERYTHING,
  type Finding,
  inspectLog,
  type LogInspection,
  type RecordRange,
  StorageError,
  severityOf,
} from '../../storage-engine/index.ts'
import { ConfigError, loadConfig } from '../config.ts'
import { decodeTopicDeleted, EntryError, TOPIC_CREATED, TOPIC_DELETED } from '../domain/entry.ts'
import { formatEventId, parseEventId } from '../domain/event-id.ts'
import { findingJson, formatTime, recordLine, topicOf } from './log-dump.ts'
import { formatBytes, progressBar, type Terminal } from './progress-bar.ts'

/** What a command of this file meets of the process around it. */
export interface LogCommandHost {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: NodeJS.WritableStream
  readonly stderr: Terminal
  /** For tests of folders that may not be written. */
  readonly acquireLock?: ((directory: string) => Promise<DirectoryLock>) | undefined
}

export const exitWhole = 0
export const exitDamaged = 1
/** A start would be refused. */
export const exitRefused = 2
// As in sysexits.h.
const exitUsage = 64
const exitNoInput = 66
const exitIoError = 74
const exitLocked = 75
const exitNoPermission = 77
const exitConfig = 78

const usage = `sser log: look into the log of a stopped server. Nothing in the log is changed.

  sser log info      what it consists of, as far as a start would read it
  sser log verify    read every byte; name each damage, and whose events it concerns
  sser log dump      print every record, one JSON object a line

For all of them:
  --directory DIR    the folder of the log, or the data folder above it; without it the configured one
  --json             for a program to read (dump always is)
  --help             show this

For dump:
  --from BOUND       the first wanted: an event's id, or a time such as 2026-01-31 or 2026-01-31T08:00:00Z
  --to BOUND         the last wanted
  --topic ID         the events of one topic only
  --no-payloads      leave the messages out, and say how many bytes they have

Examples:
  sser log info
  sser log verify --json
  sser log dump --directory _storage/log --from 2026-01-01T00:00:00Z --no-payloads

Exit codes: 0 whole; 1 damage was found; 2 something is in the way of a start; 64 wrong use; 66 there is no log;
74 the disk failed; 75 a process uses the folder; 77 not allowed; 78 the configuration is wrong.
docs/operating.md says what to do in each case.
`

interface Wanted {
  readonly command: 'info' | 'verify' | 'dump'
  readonly directory: string | undefined
  readonly json: boolean
  readonly withPayloads: boolean
  readonly range: RecordRange
}

class UsageError extends Error {}

/** Runs a command to its end; resolves with the exit code. */
export async function runLogCommand(args: readonly string[], host: LogCommandHost): Promise<number> {
  let wanted: Wanted | undefined
  try {
    wanted = parseWanted(args)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    host.stderr.write(`sser log: ${error.message}\n\n${usage}`)
    return exitUsage
  }
  if (wanted === undefined) {
    host.stdout.write(usage)
    return exitWhole
  }
  try {
    return await runWanted(wanted, host)
  } catch (error) {
    return failed(error, host)
  }
}

/** Undefined: help is wanted. */
function parseWanted(args: readonly string[]): Wanted | undefined {
  const [command, ...rest] = args
  if (args.includes('--help') || args.includes('-h') || command === 'help') return undefined
  if (command !== 'info' && command !== 'verify' && command !== 'dump') {
    throw new UsageError(command === undefined ? 'a command is missing.' : `there is no command ${quoted(command)}.`)
  }
  const { directory, json, from, to, topic, ...others } = parseOptions(command, rest)
  const withPayloads = others['no-payloads'] !== true
  if (directory === '') throw new UsageError('--directory needs a folder.')
  const range = {
    ...EVERYTHING,
    ...boundOf('--from', from, 'from', 'fromMs'),
    ...boundOf('--to', to, 'through', 'throughMs'),
    ...(topic !== undefined && { streamId: topicNumber(topic) }),
  }
  return { command, directory, json: json ?? false, withPayloads, range }
}

function parseOptions(command: Wanted['command'], args: readonly string[]) {
  const common = { directory: { type: 'string' }, json: { type: 'boolean' } } as const
  const dump = {
    from: { type: 'string' },
    to: { type: 'string' },
    topic: { type: 'string' },
    'no-payloads': { type: 'boolean' },
  } as const
  try {
    const { values } = parseArgs({ args: [...args], options: { ...common, ...dump }, strict: true })
    const foreign = Object.keys(values).find((name) => command !== 'dump' && name in dump)
    if (foreign !== undefined) throw new UsageError(`--${foreign} is an option of dump only.`)
    return values
  } catch (error) {
    // parseArgs says what is wrong in words that name the option.
    if (error instanceof TypeError && 'code' in error) throw new UsageError(error.message)
    throw error
  }
}

function boundOf(option: string, text: string | undefined, byId: 'from' | 'through', byTime: 'fromMs' | 'throughMs') {
  if (text === undefined) return {}
  const number = parseEventId(text)
  if (number !== undefined) return { [byId]: number }
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/i.test(text)
  const timeMs = isTime ? Date.parse(text.toUpperCase()) : Number.NaN
  if (Number.isNaN(timeMs)) {
    throw new UsageError(`${option} ${quoted(text)} is neither an event's id nor a time such as 2026-01-31T08:00:00Z.`)
  }
  return { [byTime]: timeMs }
}

function topicNumber(text: string): number {
  const number = parseEventId(text)
  if (number === undefined) throw new UsageError(`--topic ${quoted(text)} is not the id of a topic that is kept.`)
  return number
}

async function runWanted(wanted: Wanted, host: LogCommandHost): Promise<number> {
  const asked =
    wanted.directory === undefined
      ? join(loadConfig({ env: host.env, cwd: host.cwd }).config.storage.directory, 'log')
      : resolve(host.cwd, wanted.directory)
  const directory = await findLog(asked)
  if (directory === undefined) {
    host.stderr.write(`sser log: there is no log in ${asked}. Name its folder by --directory.\n`)
    return exitNoInput
  }
  const locks = await lockFolders(directory, host)
  try {
    const depth = wanted.command === 'verify' ? 'full' : 'outline'
    const bar = progressBar(host.stderr, 'Reading')
    const inspection = await inspectLog(new DiskFiles(), directory, { depth, progress: bar.update }).finally(bar.clear)
    try {
      if (wanted.command === 'dump') return await dump(inspection, wanted, host)
      const topics = await countTopics(inspection)
      const report = reportOf(directory, inspection, topics)
      const isInfo = wanted.command === 'info'
      const text = wanted.json ? `${JSON.stringify(report.json)}\n` : isInfo ? report.info : report.verify
      await written(host.stdout, text)
      return exitCodeOf(inspection.findings)
    } finally {
      await inspection.close()
    }
  } finally {
    for (const lock of locks) await lock.release()
  }
}

/** The folder itself, or the one in it that a data folder keeps its log in. */
async function findLog(directory: string): Promise<string | undefined> {
  for (const folder of [directory, join(directory, 'log')]) {
    const names = await namesIn(folder)
    if (names.some((name) => /^segment-\d{16}\./.test(name))) return folder
  }
  return undefined
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}

// The lock

/**
 * The server locks the data folder, which holds the log's; a log that stands alone may have a lock of its own. Throws
 * STORAGE_LOCKED. Where there is no lock file, as in a copy, or the folder may not be written, the operator is told.
 */
async function lockFolders(directory: string, host: LogCommandHost): Promise<DirectoryLock[]> {
  const folders = basename(directory) === 'log' ? [dirname(directory), directory] : [directory]
  const locks: DirectoryLock[] = []
  let isTold = false
  try {
    for (const folder of folders) {
      if (!(await namesIn(folder)).includes('LOCK')) continue
      try {
        locks.push(await (host.acquireLock ?? acquireDirectoryLock)(folder))
        await leaveToOwner(folder)
      } catch (error) {
        if (!isReadOnly(error)) throw error
        isTold = true
        host.stderr.write(
          `sser log: the lock in ${folder} cannot be taken, since the folder may not be written. ` +
            'If a server writes this log now, what follows may be wrong.\n',
        )
      }
    }
  } catch (error) {
    for (const lock of locks) await lock.release()
    throw error
  }
  if (locks.length === 0 && !isTold) {
    host.stderr.write(
      `sser log: ${directory} has no lock file, as a copy has none. If a server writes it now, what follows may be wrong.\n`,
    )
  }
  return locks
}

/**
 * A claim that root has made would keep a server that runs as another user out of its own folder: that user may not ask
 * a socket of root's whether anybody listens.
 */
async function leaveToOwner(folder: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const { uid, gid } = await lstat(folder)
  if (uid === 0) return
  for (const name of await readdir(folder)) {
    if (!name.startsWith('LOCK')) continue
    const path = join(folder, name)
    if ((await lstat(path)).uid === 0) await lchown(path, uid, gid)
  }
}

function isReadOnly(error: unknown): boolean {
  if (!(error instanceof StorageError) || error.code !== 'STORAGE_PERMISSION') return false
  const code = systemCodeOf(error.cause)
  return code === 'EROFS' || code === 'EACCES' || code === 'EPERM'
}

// What is printed

async function dump(inspection: LogInspection, wanted: Wanted, host: LogCommandHost): Promise<number> {
  const met: Finding[] = []
  for await (const item of inspection.records(wanted.range)) {
    if ('damage' in item) met.push(item.damage)
    const line =
      'damage' in item
        ? JSON.stringify({ damage: findingJson(item.damage) })
        : recordLine(item.record, wanted.withPayloads)
    if (!(await written(host.stdout, `${line}\n`))) return exitWhole
  }
  const inTheWay = inspection.findings.filter(({ kind }) => severityOf(kind) === 'refused')
  for (const finding of inTheWay) host.stderr.write(`sser log: left out: ${findingText(finding)}`)
  return exitCodeOf([...inTheWay, ...met])
}

interface TopicCounts {
  readonly created: number
  readonly deleted: number
}

async function countTopics(inspection: LogInspection): Promise<TopicCounts> {
  const topics = new Set<number>()
  let deleted = 0
  for await (const item of inspection.records({ ...EVERYTHING, streamId: CATALOG_STREAM })) {
    if (!('record' in item)) continue
    const { kind, offset, payload } = item.record
    if (kind === TOPIC_CREATED) topics.add(offset)
    try {
      if (kind === TOPIC_DELETED && topics.delete(decodeTopicDeleted(payload).topic)) deleted += 1
    } catch (error) {
      if (!(error instanceof EntryError)) throw error
    }
  }
  return { created: topics.size + deleted, deleted }
}

function reportOf(directory: string, inspection: LogInspection, topics: TopicCounts) {
  const { segments, findings, ceiling, reserveBytes } = inspection
  const holding = segments.filter(({ records, state }) => records > 0 && state !== 'overlapping')
  const total = {
    bytes: segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    records: holding.reduce((sum, { records }) => sum + records, 0),
    first: holding[0]?.first,
    last: holding.at(-1)?.last,
    from: holding.length === 0 ? undefined : Math.min(...holding.map(({ timeMsMin }) => timeMsMin)),
    to: holding.length === 0 ? undefined : Math.max(...holding.map(({ timeMsMax }) => timeMsMax)),
  }
  const count = (severity: string) => findings.filter(({ kind }) => severityOf(kind) === severity).length
  const json = {
    directory,
    identity_sha256: fingerprint(inspection.identity) ?? null,
    bytes: total.bytes,
    records: total.records,
    topics: topics.created - topics.deleted,
    topics_deleted: topics.deleted,
    first_id: idOf(total.first),
    last_id: idOf(total.last),
    first_time: timeOf(total.from),
    last_time: timeOf(total.to),
    ceiling: idOf(ceiling),
    reserve_bytes: reserveBytes ?? null,
    is_whole: count('damage') === 0 && count('refused') === 0,
    segments: segments.map((segment) => ({
      file: segment.file,
      state: segment.state,
      bytes: segment.sizeBytes,
      records: segment.records,
      first_id: idOf(segment.records === 0 ? undefined : segment.first),
      last_id: idOf(segment.records === 0 ? undefined : segment.last),
      first_time: timeOf(segment.records === 0 ? undefined : segment.timeMsMin),
      last_time: timeOf(segment.records === 0 ? undefined : segment.timeMsMax),
      created_at: timeOf(segment.createdMs),
      index: segment.index,
    })),
    findings: findings.map((finding) => ({ severity: severityOf(finding.kind), ...findingJson(finding) })),
  }
  const told = findings.map((finding) => findingText(finding)).join('')
  const verdict = verdictOf(count('damage'), count('refused'))
  const size = `${plural(total.records, 'record')} in ${plural(segments.length, 'segment')}, ${formatBytes(total.bytes)}`
  const rows = segments.map(({ file, state, sizeBytes, records, first, last, timeMsMin, timeMsMax, index }) => {
    const numbers =
      records === 0 ? '' : `, ${idOf(first)} to ${idOf(last)}, ${timeOf(timeMsMin)} to ${timeOf(timeMsMax)}`
    const sidecar = index === 'none' ? '' : `, index ${index}`
    return `  ${file}  ${state}, ${formatBytes(sizeBytes)}, ${plural(records, 'record')}${numbers}${sidecar}\n`
  })
  const info = [
    `Log        ${directory}\n`,
    `Identity   ${json.identity_sha256 ?? 'unknown'} (SHA-256 of it, the first 16 digits)\n`,
    `Holds      ${size}\n`,
    `Topics     ${json.topics}, and ${plural(topics.deleted, 'deleted one')}\n`,
    total.first === undefined ? '' : `Ids        ${json.first_id} to ${json.last_id}\n`,
    total.first === undefined ? '' : `Times      ${json.first_time} to ${json.last_time}\n`,
    `Ceiling    ${json.ceiling}: no id at or above it was ever given\n`,
    `Reserve    ${reserveBytes === undefined ? 'none' : formatBytes(reserveBytes)}\n`,
    `Segments\n${rows.join('')}`,
    told,
    `${verdict === undefined ? 'No damage is known' : verdict}; only \`sser log verify\` reads every byte.\n`,
  ].join('')
  const verify = `${told}Read ${size}: ${verdict === undefined ? 'every byte is as it was written' : verdict}.\n`
  return { json, info, verify }
}

function verdictOf(damages: number, refusals: number): string | undefined {
  const words = [
    ...(refusals > 0 ? [`${plural(refusals, 'thing')} in the way of a start`] : []),
    ...(damages > 0 ? [plural(damages, 'damage')] : []),
  ]
  return words.length === 0 ? undefined : words.join(', ')
}

const IDS_SHOWN_MAX = 5
const TOPICS_SHOWN_MAX = 10

function findingText({ kind, file, position, bytes, reason, after, through, lost }: Finding): string {
  const where = bytes > 0 ? ` at ${position}, ${plural(bytes, 'byte')}` : ''
  const lines = [`${kind}: ${file}${where}: ${reason}.`]
  if (through !== after) {
    const upTo = through === undefined ? 'whatever came behind' : `up to ${idOf(through)}`
    lines.push(`  Ids that may be lost: above ${idOf(after)}, ${upTo}.`)
    if (lost === undefined) lines.push('  No index tells whose they were: it may concern every topic.')
    else if (lost.length === 0)
      lines.push('  By its index it holds no record: nothing that a subscriber reads is lost.')
    else lines.push(...lostLines(lost))
  }
  return `${lines.join('\n')}\n`
}

function lostLines(lost: NonNullable<Finding['lost']>): string[] {
  const byTopic = grouped(lost)
  const lines = [...byTopic].slice(0, TOPICS_SHOWN_MAX).map(([streamId, records]) => {
    const ids = records.slice(0, IDS_SHOWN_MAX).map(({ offset }) => idOf(offset))
    const more = records.length > IDS_SHOWN_MAX ? ` and ${records.length - IDS_SHOWN_MAX} more` : ''
    const topic = topicOf(streamId)
    const whose =
      topic !== null ? `Topic ${topic}` : streamId === CATALOG_STREAM ? 'The catalogue of topics' : "The log's own"
    return `  ${whose}: ${ids.join(', ')}${more}.`
  })
  if (byTopic.size > TOPICS_SHOWN_MAX) lines.push(`  And ${byTopic.size - TOPICS_SHOWN_MAX} more topics.`)
  return lines
}

function grouped(lost: NonNullable<Finding['lost']>): Map<number, { readonly offset: number }[]> {
  const groups = new Map<number, { readonly offset: number }[]>()
  for (const record of lost) {
    const group = groups.get(record.streamId)
    if (group === undefined) groups.set(record.streamId, [record])
    else group.push(record)
  }
  return groups
}

function exitCodeOf(findings: readonly Finding[]): number {
  const severities = findings.map(({ kind }) => severityOf(kind))
  if (severities.includes('refused')) return exitRefused
  return severities.includes('damage') ? exitDamaged : exitWhole
}

/** The identity itself stays where it is: who knows it can forge a log. */
function fingerprint(identity: Uint8Array | undefined): string | undefined {
  return identity === undefined ? undefined : createHash('sha256').update(identity).digest('hex').slice(0, 16)
}

function idOf(number: number): string
function idOf(number: number | undefined): string | null
function idOf(number: number | undefined): string | null {
  return number === undefined ? null : formatEventId(number)
}

function timeOf(timeMs: number | undefined): string | null {
  return timeMs === undefined ? null : formatTime(timeMs)
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function quoted(text: string): string {
  return JSON.stringify(text)
}

/** Waits for whoever reads it. False where nobody reads any more. */
function written(stream: NodeJS.WritableStream, text: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => {
      if (systemCodeOf(error) === 'EPIPE') resolve(false)
      else reject(error)
    }
    stream.once('error', onError)
    stream.write(text, (error) => {
      if (error !== null && error !== undefined) return onError(error)
      stream.off('error', onError)
      resolve(true)
    })
  })
}

function failed(error: unknown, host: LogCommandHost): number {
  if (error instanceof ConfigError) {
    host.stderr.write(`${error.message}\nOr name the folder of the log by --directory.\n`)
    return exitConfig
  }
  if (error instanceof StorageError) {
    host.stderr.write(`sser log: ${error.message}\n`)
    return error.code === 'STORAGE_LOCKED'
      ? exitLocked
      : error.code === 'STORAGE_PERMISSION'
        ? exitNoPermission
        : exitIoError
  }
  const code = systemCodeOf(error)
  if (code === undefined) throw error
  host.stderr.write(`sser log: the log cannot be read (${error instanceof Error ? error.message : String(error)}).\n`)
  return code === 'EACCES' || code === 'EPERM' ? exitNoPermission : exitIoError
}

function systemCodeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
