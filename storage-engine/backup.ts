/**
 * Backups: which files belong to one, making and updating it, and restoring a log from it. A copy is complete if
 * `backup.json` is in it, which is written last and removed first. While it is incomplete, a file of another name
 * reserves the folder for this log.
 *
 * Sealed segments never change, so whatever a copy already holds is not copied again. The caller makes sure that no
 * file of the log goes away or changes meanwhile, by a pin or by holding the folder's lock.
 */

import { createHash } from 'node:crypto'
import { BACKUP_NAME, BACKUP_UNFINISHED_NAME, parseName } from './data-directory.ts'
import { StorageError, systemCode } from './errors.ts'
import type { DataFile, Files } from './files.ts'
import { decodeHeader } from './format.ts'
import { Log, type LogOptions } from './log.ts'
import { silentObserver } from './observer.ts'
import type { PinnedLog } from './pinned-log.ts'
import { ReadOnlyFiles } from './read-only-files.ts'
import { Sequencer } from './sequencer.ts'
import { systemError } from './system-error.ts'
import { createWholeFile } from './whole-file.ts'

/** A file of a log as it was at one moment. */
export interface ListedFile {
  readonly name: string
  readonly sizeBytes: number
  /** If given, these are the content, not what lies on the disk. */
  readonly bytes: Uint8Array | undefined
}

/** Everything that a log consisted of at one moment. */
export interface LogListing {
  /** SHA-256 of the log's identity, which is itself a secret. */
  readonly fingerprint: string
  readonly files: readonly ListedFile[]
}

export interface CopyReport {
  readonly filesCopied: number
  readonly bytesCopied: number
  /** Files that were in the folder already. */
  readonly filesKept: number
  readonly bytesKept: number
  readonly filesRemoved: number
}

export interface CopyOptions {
  readonly progress?: ((bytesDone: number, bytesTotal: number) => void) | undefined
  /** Called before the copy is declared complete. Throws if the log's files may not have been kept until the end. */
  readonly confirm?: (() => void) | undefined
  readonly nowMs: number
}

/** Takes numbers above all that the copied log can have handed out since, unless it lived on for decades. */
const RESTORED_CEILING_STEP = 2 ** 40
const VERSION = 1
const CHUNK_BYTES = 1024 * 1024
/** From each end of a file: header and footer, whose checksums stand for everything between. */
const COMPARED_BYTES = 4096

export async function listPinned(
  files: Files,
  directory: string,
  pinned: Omit<PinnedLog, 'release'>,
): Promise<LogListing> {
  const sidecars: ListedFile[] = []
  for (const name of pinned.sidecars) {
    const sizeBytes = await sizeOf(files, `${directory}/${name}`)
    sidecars.push({ name, sizeBytes, bytes: undefined })
  }
  const segments = pinned.segments.map((segment) => ({ ...segment, bytes: undefined }))
  const given = ({ name, bytes }: { readonly name: string; readonly bytes: Uint8Array }) => {
    return { name, sizeBytes: bytes.length, bytes }
  }
  const tail = given({ name: pinned.tail.name, bytes: pinned.tail.header })
  const manifest = pinned.manifest === undefined ? [] : [given(pinned.manifest)]
  return { fingerprint: fingerprintOf(pinned.identity), files: [...segments, ...sidecars, tail, ...manifest] }
}

/** For a log that nobody has open. Undefined if no file says which log it is. */
export async function listStopped(files: Files, directory: string): Promise<LogListing | undefined> {
  const listed: ListedFile[] = []
  let fingerprint: string | undefined
  let manifest: ListedFile | undefined
  for (const name of await files.list(directory)) {
    const { kind } = parseName(name)
    if (kind !== 'segment' && kind !== 'index' && kind !== 'manifest') continue
    const file = { name, sizeBytes: await sizeOf(files, `${directory}/${name}`), bytes: undefined }
    // Only the newest manifest counts.
    if (kind === 'manifest') manifest = file
    else listed.push(file)
    if (kind === 'segment') fingerprint ??= await fingerprintIn(files, `${directory}/${name}`)
  }
  if (fingerprint === undefined) return undefined
  return { fingerprint, files: manifest === undefined ? listed : [...listed, manifest] }
}

/**
 * Makes a copy in `target`, or updates the one that is there. Throws STORAGE_FOREIGN if the folder holds anything else.
 * Throws the disk's errors: the copy is then left incomplete, and the next call continues it.
 */
export async function copyLog(
  files: Files,
  source: string,
  listing: LogListing,
  target: string,
  options: CopyOptions,
): Promise<CopyReport> {
  await files.makeDirectory(target)
  await refuseOthers(files, target, listing.fingerprint)
  await beginCopy(files, target, listing, options.nowMs)
  const report = { filesCopied: 0, bytesCopied: 0, filesKept: 0, bytesKept: 0, filesRemoved: 0 }
  const bytesTotal = listing.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  let bytesBefore = 0
  const present = new Set(await files.list(target))
  const view = new ListedFiles(files, source, listing.files)
  for (const { name, sizeBytes } of listing.files) {
    const paths = { source: `${source}/${name}`, target: `${target}/${name}` }
    if (present.has(name) && (await isSame(view, paths.source, files, paths.target))) {
      report.filesKept += 1
      report.bytesKept += sizeBytes
    } else {
      await copyFile(view, paths.source, files, target, name, (bytesDone) => {
        options.progress?.(bytesBefore + bytesDone, bytesTotal)
      })
      report.filesCopied += 1
      report.bytesCopied += sizeBytes
    }
    bytesBefore += sizeBytes
    options.progress?.(bytesBefore, bytesTotal)
  }
  options.confirm?.()
  await endCopy(files, target, listing, options.nowMs)
  return { ...report, filesRemoved: await removeOthers(files, target, listing) }
}

/** What `backup.json` says about the copy in that folder. Throws STORAGE_DAMAGED if the copy is not complete. */
export async function readBackup(files: Files, directory: string): Promise<LogListing> {
  const names = await files.list(directory)
  if (!names.includes(BACKUP_NAME)) {
    const why = names.includes(BACKUP_UNFINISHED_NAME)
      ? 'was not finished. Make it again'
      : `is no backup: there is no ${BACKUP_NAME} in it`
    throw new StorageError('STORAGE_DAMAGED', `The backup in ${directory} cannot be used: it ${why}.`)
  }
  const note = await readNote(files, `${directory}/${BACKUP_NAME}`)
  if (note === undefined) {
    throw new StorageError(
      'STORAGE_DAMAGED',
      `The backup in ${directory} cannot be used: its ${BACKUP_NAME} is damaged. Make it again.`,
    )
  }
  for (const { name, sizeBytes } of note.files) {
    const found = names.includes(name) ? await sizeOf(files, `${directory}/${name}`) : undefined
    if (found === sizeBytes) continue
    const what = found === undefined ? 'is missing' : `has ${found} bytes in place of ${sizeBytes}`
    throw new StorageError(
      'STORAGE_DAMAGED',
      `The backup in ${directory} cannot be used: ${name} ${what}. Use another one, or make it again.`,
    )
  }
  return note
}

/**
 * Turns a copy into a log, in an empty folder. Its numbers continue far above those that the copied log can have handed
 * out meanwhile, and it knows which ones it skips, so a client that was ahead of the copy is told.
 */
export async function restoreLog(
  files: Files,
  backup: string,
  listing: LogListing,
  target: string,
  options: LogOptions,
  progress?: (bytesDone: number, bytesTotal: number) => void,
): Promise<void> {
  await files.makeDirectory(target)
  const bytesTotal = listing.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  let bytesBefore = 0
  for (const { name, sizeBytes } of listing.files) {
    await copyFile(files, `${backup}/${name}`, files, target, name, (bytesDone) => {
      progress?.(bytesBefore + bytesDone, bytesTotal)
    })
    bytesBefore += sizeBytes
  }
  const raised = { ...options, raiseCeilingBy: RESTORED_CEILING_STEP }
  const log = await Log.open(files, new Sequencer(), silentObserver, target, raised)
  await log.close()
}

/** Shows only those files of a folder that are listed. */
export class ListedFiles extends ReadOnlyFiles {
  readonly #listed: ReadonlyMap<string, ListedFile>

  constructor(files: Files, directory: string, listed: readonly ListedFile[]) {
    super(files)
    this.#listed = new Map(listed.map((file) => [`${directory}/${file.name}`, file]))
  }

  override async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    const listed = this.#listed.get(path)
    if (listed === undefined) throw systemError('ENOENT', 'open', path)
    return listed.bytes === undefined ? await super.open(path, mode) : new GivenFile(path, listed.bytes)
  }

  override async list(): Promise<readonly string[]> {
    return [...this.#listed.values()].map(({ name }) => name).sort()
  }
}

class GivenFile implements DataFile {
  readonly path: string
  readonly #bytes: Uint8Array

  constructor(path: string, bytes: Uint8Array) {
    this.path = path
    this.#bytes = bytes
  }

  get sizeBytes(): number {
    return this.#bytes.length
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const part = this.#bytes.subarray(position, position + target.length)
    target.set(part)
    return part.length
  }

  async write(): Promise<void> {
    throw systemError('EBADF', 'write', this.path)
  }

  async truncate(): Promise<void> {
    throw systemError('EBADF', 'ftruncate', this.path)
  }

  async sync(): Promise<void> {
    throw systemError('EBADF', 'fdatasync', this.path)
  }

  async close(): Promise<void> {}
}

// The folder of a copy

/** Refuses a folder that holds something else, or the copy of another log. */
async function refuseOthers(files: Files, target: string, fingerprint: string): Promise<void> {
  const names = await files.list(target)
  const foreign = names.find((name) => !isOfCopy(name))
  if (foreign !== undefined) throw refused(target, `it holds something else (${foreign})`)
  const notes = names.filter((name) => name === BACKUP_NAME || name === BACKUP_UNFINISHED_NAME)
  const segments = names.filter((name) => parseName(name).kind === 'segment')
  if (notes.length === 0 && segments.length > 0) throw refused(target, 'it holds a log that is no backup')
  for (const name of notes) {
    const note = await readNote(files, `${target}/${name}`)
    if (note !== undefined && note.fingerprint !== fingerprint)
      throw refused(target, 'it holds the backup of another log')
  }
}

function isOfCopy(name: string): boolean {
  const { kind } = parseName(name)
  return kind === 'segment' || kind === 'index' || kind === 'manifest' || kind === 'temporary' || kind === 'backup'
}

function refused(target: string, why: string): StorageError {
  return new StorageError(
    'STORAGE_FOREIGN',
    `No backup is made in ${target}: ${why}. Name an empty folder, or the one of an earlier backup of this log.`,
  )
}

/** From here on the copy does not count, until it is complete again. */
async function beginCopy(files: Files, target: string, listing: LogListing, nowMs: number): Promise<void> {
  await writeNote(files, target, BACKUP_UNFINISHED_NAME, listing, nowMs)
  await removeIfThere(files, `${target}/${BACKUP_NAME}`)
  await files.syncDirectory(target)
}

async function endCopy(files: Files, target: string, listing: LogListing, nowMs: number): Promise<void> {
  await writeNote(files, target, BACKUP_NAME, listing, nowMs)
  await removeIfThere(files, `${target}/${BACKUP_UNFINISHED_NAME}`)
  await files.syncDirectory(target)
}

/** Removes what the log has replaced since the last copy. */
async function removeOthers(files: Files, target: string, listing: LogListing): Promise<number> {
  const listed = new Set([...listing.files.map(({ name }) => name), BACKUP_NAME])
  const outdated = (await files.list(target)).filter((name) => isOfCopy(name) && !listed.has(name))
  for (const name of outdated) await files.remove(`${target}/${name}`)
  if (outdated.length > 0) await files.syncDirectory(target)
  return outdated.length
}

async function writeNote(
  files: Files,
  target: string,
  name: string,
  listing: LogListing,
  nowMs: number,
): Promise<void> {
  const note = {
    version: VERSION,
    made_at: new Date(nowMs).toISOString(),
    identity_sha256: listing.fingerprint,
    files: listing.files.map((file) => ({ name: file.name, bytes: file.sizeBytes })),
  }
  await createWholeFile(files, target, name, (file) => file.write(Buffer.from(`${JSON.stringify(note, null, 1)}\n`), 0))
}

/** Undefined if it is not what was written. */
async function readNote(files: Files, path: string): Promise<LogListing | undefined> {
  const bytes = await readWhole(files, path)
  try {
    const { version, identity_sha256: fingerprint, files: listed } = JSON.parse(bytes.toString('utf8'))
    if (version !== VERSION || typeof fingerprint !== 'string' || !Array.isArray(listed)) return undefined
    const read = listed.map(({ name, bytes: sizeBytes }) => ({ name, sizeBytes, bytes: undefined }))
    // A name that leads out of the folder is not one of ours.
    const isOurs = read.every(({ name, sizeBytes }) => isOfCopy(String(name)) && Number.isSafeInteger(sizeBytes))
    return isOurs ? { fingerprint, files: read } : undefined
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined
    throw error
  }
}

// Files

/** Durable under its name when it resolves. */
export async function copyFile(
  from: Files,
  source: string,
  files: Files,
  target: string,
  name: string,
  progress: (bytesDone: number) => void = () => undefined,
): Promise<void> {
  const file = await from.open(source, 'read')
  try {
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(1, file.sizeBytes)))
    await createWholeFile(files, target, name, async (copy) => {
      for (let position = 0; position < file.sizeBytes; ) {
        const length = await file.read(chunk, position)
        if (length === 0) throw systemError('EIO', 'read', source, 'it has become shorter')
        await copy.write(chunk.subarray(0, length), position)
        position += length
        progress(position)
      }
    })
  } finally {
    await file.close()
  }
}

/** Whether the copy is of this very file: the same size, the same beginning and the same end. */
async function isSame(from: Files, source: string, files: Files, target: string): Promise<boolean> {
  const one = await from.open(source, 'read')
  try {
    const other = await files.open(target, 'read')
    try {
      if (one.sizeBytes !== other.sizeBytes) return false
      for (const position of [0, Math.max(0, one.sizeBytes - COMPARED_BYTES)]) {
        if (!(await partOf(one, position)).equals(await partOf(other, position))) return false
      }
      return true
    } finally {
      await other.close()
    }
  } finally {
    await one.close()
  }
}

async function partOf(file: DataFile, position: number): Promise<Buffer> {
  const part = Buffer.alloc(COMPARED_BYTES)
  return part.subarray(0, await file.read(part, position))
}

async function readWhole(files: Files, path: string): Promise<Buffer> {
  const file = await files.open(path, 'read')
  try {
    const bytes = Buffer.alloc(file.sizeBytes)
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}

async function sizeOf(files: Files, path: string): Promise<number> {
  const file = await files.open(path, 'read')
  const { sizeBytes } = file
  await file.close()
  return sizeBytes
}

async function removeIfThere(files: Files, path: string): Promise<void> {
  await files.remove(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error
  })
}

async function fingerprintIn(files: Files, path: string): Promise<string | undefined> {
  const file = await files.open(path, 'read')
  try {
    const decoded = decodeHeader(await partOf(file, 0))
    return decoded.kind === 'header' ? fingerprintOf(decoded.header.identity) : undefined
  } finally {
    await file.close()
  }
}

function fingerprintOf(identity: Uint8Array): string {
  return createHash('sha256').update(identity).digest('hex')
}
