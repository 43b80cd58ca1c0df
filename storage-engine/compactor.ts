/**
 * Background compaction: rewrites sealed segments by stream, without what is dead, one run after another for as long as
 * a run is worthwhile (compaction-choice.ts). A run that cannot be finished leaves the log as it was, and what stopped
 * it is reported or tried again later. Near the log's quota any dead record makes a run worthwhile; and if the log is
 * to drop its oldest records rather than refuse new ones, the judge is asked to drop them.
 */

import { Arenas } from './arenas.ts'
import { type Candidate, type Choice, type ChoiceReason, chooseRun } from './compaction-choice.ts'
import { type Standing, standingOf } from './compaction-floors.ts'
import type { CompactionJudge } from './compaction-judge.ts'
import { compactSegments, removeOutput } from './compaction-run.ts'
import { DamagedInput } from './compaction-sources.ts'
import { StorageError, SyncFailure, systemCode } from './errors.ts'
import { CATALOG_STREAM, type Offset, ORDER_BY_STREAM } from './format.ts'
import { IndexDoubt } from './index-file.ts'
import { Pacer, PaceStopped } from './pacer.ts'
import { isDiskFull } from './reserve.ts'
import type { Segment } from './segment.ts'
import type { SegmentSet } from './segment-set.ts'
import { totalsIn } from './stream-reads.ts'

export interface CompactionOptions {
  readonly judge: CompactionJudge
  /** Of reads and writes together. */
  readonly bytesPerSecondMax: number
  /** 0 to 1: a segment is rewritten if at least this share of it is dead. */
  readonly deadShareMin: number
  /** How often to find out what has died. */
  readonly intervalMs: number
}

/** What compaction needs of the log. */
export interface CompactionHost {
  readonly segments: SegmentSet
  readonly segmentBytesMax: number
  readonly quotaBytes: number | undefined
  readonly dropsOldest: boolean
  /** The highest that is known to be durable. */
  readonly ceiling: Offset
  /** The commit that is on its way to the disk, if there is one. */
  readonly commitInFlight: Promise<unknown> | undefined
  /** Gives back the room that is kept for a full disk. False: there is none. */
  makeRoom(): Promise<boolean>
  /** A sync failed, which is final. */
  fail(cause: SyncFailure): StorageError
  /** Whoever waits for room may look again. */
  lookForRoom(): void
}

/** The work of all runs since the log was opened, or during one call of `compact`. */
export interface CompactionReport {
  readonly runs: number
  readonly bytesRead: number
  readonly bytesWritten: number
}

export interface CompactionFigures extends CompactionReport {
  readonly isRunning: boolean
  readonly lastDurationMs: number
  /** Of the sealed segments that were looked at: how much of their records is dead, 0 to 1. */
  readonly deadShare: number
}

const NOTHING_DONE: CompactionReport = { runs: 0, bytesRead: 0, bytesWritten: 0 }

/** An output holds at most as much as this many full segments. */
const OUTPUT_SEGMENTS_MAX = 4
const OUTPUT_BYTES_LIMIT = 1.5 * 2 ** 30
/** Even if all of it is alive, padding and headers must not take positions over 4 GiB. */
const INPUT_BYTES_LIMIT = 3 * 2 ** 30
const OUTPUT_RECORDS_MAX = 2 ** 20
const SORTED_BYTES_MAX = 64 * 2 ** 20

/** From this share of the quota on less and less must be dead to be worth a run, and the log is looked at more often. */
const EAGER_SHARE = 3 / 4
const EAGER_INTERVAL_MS = 1000
/** From this share on the oldest records are dropped, if that is wanted. */
const DROP_SHARE = 9 / 10
/** From the one share to the other publishers are spared less and less: nothing costs them more than a log that is full. */
const PRESSED_SHARE = 97 / 100

/** Finding out what has died takes at most this share of the time, however large the log is. */
const LOOKING_SHARE = 1 / 20

export class Compactor {
  readonly #host: CompactionHost
  readonly #options: CompactionOptions
  readonly #pacer: Pacer
  /** Empty between rounds. */
  readonly #arenas = new Arenas()
  readonly #known = new Map<Segment, Standing>()
  /** Segments whose records the judge was asked to drop. */
  readonly #dropped = new WeakSet<Segment>()
  /** When all segments were looked at last, or were to be; and how long it took. */
  #lookedAt = 0
  #lookMs = 0
  #totals = NOTHING_DONE
  #lastDurationMs = 0
  #isRunning = false
  /** How many callers wait for work that they asked to be done now. */
  #awaiting = 0
  /** Rounds follow one another. */
  #round: Promise<unknown> = Promise.resolve()
  #background: Promise<void> | undefined
  #wake: () => void = () => undefined
  #isSealedNew = false
  /** Records of the catalogue are gone, so the records that cancelled them may no longer be needed. */
  #isCatalogThinner = false
  /** The log is nearly full, and nothing can be dropped. */
  #isHopeless = false

  constructor(host: CompactionHost, options: CompactionOptions) {
    this.#host = host
    this.#options = options
    this.#pacer = new Pacer(options.bytesPerSecondMax, {
      commitInFlight: () => host.commitInFlight,
      pressure: () => Math.max(0, Math.min(1, (this.#fill - DROP_SHARE) / (PRESSED_SHARE - DROP_SHARE))),
      isAwaited: () => this.#awaiting > 0,
    })
  }

  get figures(): CompactionFigures {
    let bytes = 0
    let liveBytes = 0
    for (const standing of this.#known.values()) {
      bytes += standing.bytes
      liveBytes += standing.liveBytes
    }
    const deadShare = bytes === 0 ? 0 : 1 - liveBytes / bytes
    return { ...this.#totals, isRunning: this.#isRunning, lastDurationMs: this.#lastDurationMs, deadShare }
  }

  /** Works from now until `stop`. */
  start(): void {
    this.#background ??= this.#work()
  }

  /** Stops at the next slice. Whatever was begun is removed. */
  async stop(): Promise<void> {
    this.#pacer.stop()
    this.#wake()
    await this.#background
    await this.#round.catch(() => undefined)
  }

  /** A segment was sealed: there may be something to do at once. */
  noteSealed(): void {
    this.#isHopeless = false
    this.#lookNow()
  }

  /** Whether it is worth waiting for: the log is nearly full, its oldest records may go, and it is not known that none can. */
  makesRoom(): boolean {
    const { dropsOldest } = this.#host
    if (!dropsOldest || this.#isHopeless || this.#pacer.signal.aborted || this.#fill <= PRESSED_SHARE) return false
    this.#lookNow()
    return true
  }

  #lookNow(): void {
    this.#isSealedNew = true
    this.#wake()
  }

  /** Does now whatever is worth doing, after any round that is under way. Rejects with StorageError. */
  async compactNow(onProgress: (report: CompactionReport) => void = () => undefined): Promise<CompactionReport> {
    this.#awaiting += 1
    try {
      return await this.#nextRound(true, onProgress)
    } catch (error) {
      throw readable(error, this.#host.segments.context.directory)
    } finally {
      this.#awaiting -= 1
    }
  }

  async #work(): Promise<void> {
    let isThorough = true
    while (!this.#pacer.signal.aborted) {
      this.#isSealedNew = false
      try {
        await this.#nextRound(isThorough)
        this.#isHopeless = this.#fill > PRESSED_SHARE
      } catch (error) {
        if (error instanceof SyncFailure || error instanceof PaceStopped) return
        // It will be met again, here or by whoever it concerns, who will report it.
        if (!isPassing(error)) throw error
        this.#isHopeless = true
      } finally {
        this.#host.lookForRoom()
      }
      isThorough = await this.#rest()
    }
  }

  /** Resolves when a segment is sealed, or when it is time to look what has died; with whether it is. */
  async #rest(): Promise<boolean> {
    const dueAt = this.#lookDueAt
    if (!this.#isSealedNew && !this.#pacer.signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(0, dueAt - performance.now())).unref()
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return performance.now() >= dueAt
  }

  /** When all segments are to be looked at again. */
  get #lookDueAt(): number {
    const { intervalMs } = this.#options
    const wantedMs = this.#fill > EAGER_SHARE ? Math.min(intervalMs, EAGER_INTERVAL_MS) : intervalMs
    return this.#lookedAt + Math.max(wantedMs, this.#lookMs / LOOKING_SHARE)
  }

  #nextRound(isThorough: boolean, onProgress?: (report: CompactionReport) => void): Promise<CompactionReport> {
    const round = this.#round
      .catch(() => undefined)
      .then(() => this.#runAll(isThorough, onProgress))
      .finally(() => this.#arenas.clear())
    this.#round = round
    round.catch(() => undefined)
    return round
  }

  async #runAll(
    isThorough: boolean,
    onProgress: (report: CompactionReport) => void = () => undefined,
  ): Promise<CompactionReport> {
    this.#pacer.begin()
    const before = this.#totals
    const done = (): CompactionReport => ({
      runs: this.#totals.runs - before.runs,
      bytesRead: this.#totals.bytesRead - before.bytesRead,
      bytesWritten: this.#totals.bytesWritten - before.bytesWritten,
    })
    let isFresh = isThorough
    for (;;) {
      // If publishers seal segments faster than they are grouped, a round may never end.
      await this.#look(isFresh || performance.now() >= this.#lookDueAt)
      isFresh = false
      const choice = this.#choose()
      if (choice !== undefined) {
        await this.#runWithRoom(choice)
        onProgress(done())
      } else if (isThorough && this.#isCatalogThinner) {
        this.#isCatalogThinner = false
        isFresh = true
      } else if (!(await this.#dropOldest())) return done()
    }
  }

  // What to do

  get #sealed(): readonly Segment[] {
    return this.#host.segments.all.filter(({ isSealed }) => isSealed)
  }

  /** How much of the quota is used: 0 to 1, or a little more. */
  get #fill(): number {
    const { quotaBytes, segments } = this.#host
    return quotaBytes === undefined ? 0 : segments.bytesOnDisk / quotaBytes
  }

  /** All of the share that is asked for below three quarters of the quota, none of it when the quota is reached. */
  get #deadShareMin(): number {
    const left = (1 - this.#fill) / (1 - EAGER_SHARE)
    return this.#options.deadShareMin * Math.max(0, Math.min(1, left))
  }

  #isDamaged(segment: Segment): boolean {
    const isKnown = this.#host.segments.damages.some(({ file }) => file === segment.name)
    return isKnown || segment.unindexedDamages.length > 0
  }

  /** Finds out how much of the segments is alive that are not known; `isThorough`: of all of them, anew. */
  async #look(isThorough: boolean): Promise<void> {
    const { segments } = this.#host
    const beganAt = performance.now()
    if (isThorough) this.#lookedAt = beganAt
    for (const segment of this.#known.keys()) if (!segments.has(segment)) this.#known.delete(segment)
    for (const segment of this.#sealed) {
      if (!isThorough && this.#known.has(segment)) continue
      this.#known.set(segment, await standingOf(segments, segment, this.#options.judge, this.#pacer))
    }
    if (isThorough) this.#lookMs = performance.now() - beganAt
  }

  #choose(): Choice | undefined {
    const candidates = this.#sealed.map((segment): Candidate => {
      const standing = this.#known.get(segment)
      // One that was sealed since the last look is left alone as well.
      const isDamaged = standing === undefined || this.#isDamaged(segment)
      return { ...(standing ?? UNKNOWN), isStreamOrdered: segment.order === ORDER_BY_STREAM, isDamaged }
    })
    return chooseRun(candidates, {
      inputBytesMax: INPUT_BYTES_LIMIT,
      outputBytesMax: Math.min(OUTPUT_SEGMENTS_MAX * this.#host.segmentBytesMax, OUTPUT_BYTES_LIMIT),
      outputRecordsMax: OUTPUT_RECORDS_MAX,
      sortedBytesMax: SORTED_BYTES_MAX,
      deadShareMin: this.#deadShareMin,
    })
  }

  /** If the log is nearly full, has the oldest segment's records dropped. False: there is nothing to drop. */
  async #dropOldest(): Promise<boolean> {
    const { dropsOldest, segments } = this.#host
    if (!dropsOldest || this.#fill <= DROP_SHARE) return false
    const hasRecords = (segment: Segment) => segment.recordCount > 0 && !this.#isDamaged(segment)
    const oldest = this.#sealed.find((segment) => hasRecords(segment) && !this.#dropped.has(segment))
    if (oldest === undefined) return false
    this.#dropped.add(oldest)
    for await (const totals of totalsIn(segments, oldest)) {
      const streams = totals.filter(({ streamId }) => streamId > CATALOG_STREAM)
      if (streams.length > 0) await this.#options.judge.drop(streams)
      await this.#pacer.slice()
    }
    this.#known.delete(oldest)
    return true
  }

  // Doing it

  /** A run that makes room may use the room that is kept for a full disk. */
  async #runWithRoom(choice: Choice): Promise<void> {
    const inputs = this.#sealed.slice(choice.begin, choice.end)
    this.#isRunning = true
    try {
      await this.#run(inputs, choice.reason)
    } catch (error) {
      if (!isDiskFull(error) || choice.reason === 'grouped' || !(await this.#host.makeRoom())) throw error
      await this.#run(inputs, choice.reason)
    } finally {
      this.#isRunning = false
    }
  }

  async #run(inputs: readonly Segment[], reason: ChoiceReason): Promise<void> {
    const { segments, ceiling } = this.#host
    const beganAt = performance.now()
    try {
      const output = await compactSegments(segments, inputs, this.#options.judge, this.#pacer, this.#arenas, ceiling)
      const { segment, bytesRead, bytesWritten, checkpointFloor } = output
      await this.#replace(inputs, segment, checkpointFloor)
      this.#host.lookForRoom()
      if (checkpointFloor > 0) this.#isCatalogThinner = true
      this.#lastDurationMs = performance.now() - beganAt
      this.#totals = {
        runs: this.#totals.runs + 1,
        bytesRead: this.#totals.bytesRead + bytesRead,
        bytesWritten: this.#totals.bytesWritten + bytesWritten,
      }
      const bytes = segment.contentEnd - segment.headerEnd
      this.#known.set(segment, { bytes, liveBytes: bytes, liveRecords: segment.recordCount })
      const bytesBefore = inputs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
      const { context } = segments
      const run = { reason, inputs: inputs.length, bytesBefore, bytesAfter: segment.sizeBytes }
      context.observer.compacted({ ...run, durationMs: this.#lastDurationMs })
    } catch (error) {
      if (error instanceof SyncFailure) this.#host.fail(error)
      if (!(error instanceof DamagedInput)) throw error
      segments.reportDamage(error.damage)
    }
  }

  async #replace(inputs: readonly Segment[], output: Segment, checkpointFloor: Offset): Promise<void> {
    const { segments } = this.#host
    try {
      await segments.replace(inputs, output, checkpointFloor)
    } catch (error) {
      // Of a rename that failed otherwise nobody knows whether it was done: then the manifest needs the output.
      if (isDiskFull(error)) await removeOutput(segments, output)
      throw error
    }
  }
}

const UNKNOWN: Standing = { bytes: 0, liveBytes: 0, liveRecords: 0 }

/** Errors that a later try may be spared: those of the disk, and of a log that refuses marks. */
function isPassing(error: unknown): boolean {
  return error instanceof StorageError || error instanceof IndexDoubt || systemCode(error) !== undefined
}

function readable(error: unknown, directory: string): unknown {
  if (error instanceof PaceStopped) return new StorageError('STORAGE_CLOSED', 'The log is closed, or is closing.')
  if (error instanceof StorageError || !(isPassing(error) || error instanceof SyncFailure)) return error
  const code = error instanceof SyncFailure ? 'STORAGE_FAILED' : isDiskFull(error) ? 'STORAGE_FULL' : 'STORAGE_WRITE'
  return new StorageError(
    code,
    `The log in ${directory} could not be compacted (${String(error)}). Nothing of it is lost. Check the disk.`,
    error,
  )
}
