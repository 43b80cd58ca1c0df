/**
 * Chooses the segments that compaction rewrites next, and says why. Pure.
 *
 * Three things make a run worth its writes, in this order: segments with nothing alive in them, which need not even be
 * read; segments of which much is dead; and segments in which the readers of one stream would find its history in fewer
 * pieces afterwards. For the third, a byte is written once to get from number order to stream order, and after that
 * only if the segment it lies in at least doubles in size, so no more often than the smallest segment can be doubled
 * until it is full. A log in which nothing dies and nothing is written soon has nothing left to do.
 */

/** What the choice needs to know of a sealed segment. */
export interface Candidate {
  /** Of its records, without padding: all, and those that are alive. */
  readonly bytes: number
  readonly liveBytes: number
  readonly liveRecords: number
  readonly isStreamOrdered: boolean
  /** Known to be damaged: it is never rewritten, so that the evidence stays. */
  readonly isDamaged: boolean
}

export interface ChoiceLimits {
  /** Of records of all inputs that are read, dead ones included: how much of them is alive is a guess. */
  readonly inputBytesMax: number
  readonly outputBytesMax: number
  readonly outputRecordsMax: number
  /** Of live records that lie by number: these are sorted in memory. One segment may have more. */
  readonly sortedBytesMax: number
  /** A segment is rewritten if this share of it is dead; 0: if anything in it is. */
  readonly deadShareMin: number
}

export type ChoiceReason = 'dead' | 'sparse' | 'grouped'

/** A run: the segments from `begin` to, not including, `end`. */
export interface Choice {
  readonly begin: number
  readonly end: number
  readonly reason: ChoiceReason
}

/** A run whose only gain is that streams lie in fewer places needs this many neighbours. */
const NEIGHBOURS_MIN = 4
/** The output of such a run must be this many times as large as its largest input. */
const GROWTH_MIN = 2
/** No run has more inputs: each may be read at the same time as the others, and all are named in a header. */
const INPUTS_MAX = 64

/** `candidates` are neighbours in the log, in its order. Undefined: nothing is worth doing. */
export function chooseRun(candidates: readonly Candidate[], limits: ChoiceLimits): Choice | undefined {
  const choice = deadRow(candidates) ?? sparseRow(candidates, limits) ?? groupedRow(candidates, limits)
  return choice === undefined ? undefined : withEmptyNeighbours(candidates, choice)
}

/** The longest row with nothing alive in it that is not empty. */
function deadRow(candidates: readonly Candidate[]): Choice | undefined {
  let longest: Choice | undefined
  for (let begin = 0; begin < candidates.length; begin += 1) {
    let end = begin
    let bytes = 0
    while (end < candidates.length && end - begin < INPUTS_MAX && isDead(candidates[end] as Candidate)) {
      bytes += (candidates[end] as Candidate).bytes
      end += 1
    }
    if (bytes > 0 && end - begin > (longest === undefined ? 0 : longest.end - longest.begin)) {
      longest = { begin, end, reason: 'dead' }
    }
    begin = Math.max(begin, end - 1)
  }
  return longest
}

/** Starts from the segment of which most is dead, and includes those beside it that are to be rewritten as well. */
function sparseRow(candidates: readonly Candidate[], limits: ChoiceLimits): Choice | undefined {
  const isSparse = (one: Candidate) =>
    !one.isDamaged && one.liveBytes < one.bytes && deadShareOf(one) >= limits.deadShareMin
  let sparsest: number | undefined
  for (const [i, one] of candidates.entries()) {
    if (!isSparse(one)) continue
    if (sparsest === undefined || deadShareOf(one) > deadShareOf(candidates[sparsest] as Candidate)) sparsest = i
  }
  if (sparsest === undefined) return undefined
  const row = new Row(candidates, sparsest, limits)
  while (row.takes(row.end, isSparse)) row.extend()
  while (row.takes(row.begin - 1, isSparse)) row.extendBack()
  return { begin: row.begin, end: row.end, reason: 'sparse' }
}

/** The first row whose segments come to lie by stream, or in a segment that is much larger than each of them. */
function groupedRow(candidates: readonly Candidate[], limits: ChoiceLimits): Choice | undefined {
  for (let begin = 0; begin < candidates.length; begin += 1) {
    if ((candidates[begin] as Candidate).isDamaged) continue
    const row = new Row(candidates, begin, limits)
    while (row.takes(row.end, (one) => !one.isDamaged)) row.extend()
    const isLong = row.length >= NEIGHBOURS_MIN || (row.length > 1 && row.isFull)
    if (isLong && row.liveBytes >= GROWTH_MIN * row.largestBytes) return { begin, end: row.end, reason: 'grouped' }
  }
  return unsortedRow(candidates, limits)
}

/** The first of several neighbours that lie by number, as many as can be sorted at once. */
function unsortedRow(candidates: readonly Candidate[], limits: ChoiceLimits): Choice | undefined {
  const isUnsorted = (one: Candidate | undefined) => one !== undefined && !one.isStreamOrdered && !one.isDamaged
  for (let begin = 0; begin < candidates.length; begin += 1) {
    let count = 0
    while (isUnsorted(candidates[begin + count])) count += 1
    if (count < NEIGHBOURS_MIN) {
      begin += count
      continue
    }
    const row = new Row(candidates, begin, limits)
    while (row.takes(row.end, (one) => isUnsorted(one))) row.extend()
    return { begin, end: row.end, reason: 'grouped' }
  }
  return undefined
}

/** Empty segments cost nothing to include, and each is one file less. */
function withEmptyNeighbours(candidates: readonly Candidate[], choice: Choice): Choice {
  const isEmpty = (i: number) => candidates[i]?.bytes === 0 && !candidates[i].isDamaged
  let { begin, end } = choice
  while (end - begin < INPUTS_MAX && isEmpty(end)) end += 1
  while (end - begin < INPUTS_MAX && isEmpty(begin - 1)) begin -= 1
  return { ...choice, begin, end }
}

function deadShareOf({ bytes, liveBytes }: Candidate): number {
  return bytes === 0 ? 0 : 1 - liveBytes / bytes
}

function bytesToRead({ bytes, liveRecords }: Candidate): number {
  return liveRecords === 0 ? 0 : bytes
}

function isDead({ liveRecords, isDamaged }: Candidate): boolean {
  return liveRecords === 0 && !isDamaged
}

/** Neighbours that fit into one output; grows at both ends. */
class Row {
  readonly #candidates: readonly Candidate[]
  readonly #limits: ChoiceLimits
  begin: number
  end: number
  liveBytes = 0
  largestBytes = 0
  /** Whether a neighbour was refused because the output would have been too large. */
  isFull = false
  #records = 0
  #readBytes = 0
  #sortedBytes = 0

  constructor(candidates: readonly Candidate[], begin: number, limits: ChoiceLimits) {
    this.#candidates = candidates
    this.#limits = limits
    this.begin = begin
    this.end = begin
    this.extend()
  }

  get length(): number {
    return this.end - this.begin
  }

  /** Whether the candidate at `i` is there, is wanted, and fits in. */
  takes(i: number, isWanted: (candidate: Candidate) => boolean): boolean {
    const one = this.#candidates[i]
    if (one === undefined || !isWanted(one) || this.length >= INPUTS_MAX) return false
    const { inputBytesMax, outputBytesMax, outputRecordsMax, sortedBytesMax } = this.#limits
    const isTooMuch = this.#readBytes + bytesToRead(one) > inputBytesMax
    const isTooLarge = this.liveBytes + one.liveBytes > outputBytesMax
    if (isTooMuch || isTooLarge || this.#records + one.liveRecords > outputRecordsMax) {
      this.isFull = true
      return false
    }
    return one.isStreamOrdered || this.#sortedBytes === 0 || this.#sortedBytes + one.liveBytes <= sortedBytesMax
  }

  extend(): void {
    this.#take(this.end)
    this.end += 1
  }

  extendBack(): void {
    this.begin -= 1
    this.#take(this.begin)
  }

  #take(i: number): void {
    const one = this.#candidates[i] as Candidate
    this.liveBytes += one.liveBytes
    this.largestBytes = Math.max(this.largestBytes, one.liveBytes)
    this.#records += one.liveRecords
    this.#readBytes += bytesToRead(one)
    if (!one.isStreamOrdered) this.#sortedBytes += one.liveBytes
  }
}
