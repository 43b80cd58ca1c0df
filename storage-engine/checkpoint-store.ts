/** The checkpoints of a log: writes the next one, keeps the newest two, and finds the newest that can be trusted. */

import { type Checkpoint, CheckpointDoubt, openCheckpoint, writeCheckpoint } from './checkpoint.ts'
import { checkpointName, parseName } from './data-directory.ts'
import { systemCode } from './errors.ts'
import type { Offset } from './format.ts'
import type { SegmentContext } from './segment.ts'

const KEPT = 2

export class CheckpointStore {
  readonly #context: SegmentContext
  readonly #identity: Uint8Array
  #saving: Promise<void> = Promise.resolve()

  constructor(context: SegmentContext, identity: Uint8Array) {
    this.#context = context
    this.#identity = identity
  }

  /**
   * The newest that verifies, is of this log, tells nothing that the log has not, and misses nothing that compaction has
   * taken out since: its number must be at or above `floor` and at most `last`. The others are told and left alone.
   */
  async load(floor: Offset, last: Offset): Promise<Checkpoint | undefined> {
    const { files, directory, observer } = this.#context
    for (const number of (await this.#numbers()).toReversed()) {
      try {
        const checkpoint = await openCheckpoint(files, directory, number)
        if (Buffer.compare(checkpoint.identity, this.#identity) !== 0) throw new CheckpointDoubt('it is of another log')
        if (checkpoint.offset > last) throw new CheckpointDoubt('it is ahead of the log')
        if (checkpoint.offset < floor) throw new CheckpointDoubt('the log has been compacted since')
        return checkpoint
      } catch (error) {
        if (!(error instanceof CheckpointDoubt)) throw error
        observer.checkpointDoubtful(checkpointName(number), error.message)
      }
    }
    return undefined
  }

  /** One at a time. Throws what `chunks` and the disk throw: then the older ones are there still. */
  async save(offset: Offset, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const saved = this.#saving.then(() => this.#save(offset, chunks))
    this.#saving = saved.catch(() => undefined)
    await saved
  }

  async #save(offset: Offset, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { files, directory } = this.#context
    const numbers = await this.#numbers()
    const number = (numbers.at(-1) ?? 0) + 1
    await writeCheckpoint(files, directory, { identity: this.#identity, number, offset }, chunks)
    for (const outdated of numbers.slice(0, Math.max(0, numbers.length + 1 - KEPT))) {
      // One that cannot be removed costs room, and is tried again the next time.
      await files.remove(`${directory}/${checkpointName(outdated)}`).catch((error: unknown) => {
        if (systemCode(error) === undefined) throw error
      })
    }
  }

  /** Ascending. */
  async #numbers(): Promise<number[]> {
    const names = await this.#context.files.list(this.#context.directory)
    return names
      .map((name) => parseName(name))
      .flatMap((parsed) => (parsed.kind === 'checkpoint' ? [parsed.number] : []))
      .sort((a, b) => a - b)
  }
}
