/**
 * Recently read blocks of files, shared by all readers and bounded in bytes. Concurrent requests for the same block
 * share one read: a thousand clients that reconnect at the same moment cost one read of each block.
 *
 * Only bytes that will never change may be requested: everything below a file's `readableBytes`. A buffer in the cache
 * is never written to again, so views into it stay valid for as long as anyone holds them.
 */

export interface BlockSource {
  /** Unique among all files that were ever in this cache; below 2^31. */
  readonly cacheId: number
  /** Bytes below this position are final. May grow. */
  readonly readableBytes: number
  read(target: Uint8Array, position: number): Promise<number>
}

/** Ranges of more blocks than this are read past the cache: one large record must not flush everything else. */
const BLOCKS_PER_READ_MAX = 8
const BLOCKS_PER_FILE_MAX = 2 ** 22

export class BlockCache {
  readonly #blockBytes: number
  readonly #bytesMax: number
  readonly #blocks = new Map<number, Buffer>()
  readonly #loading = new Map<number, Promise<Buffer>>()
  /** Reads in progress that bypass the cache, by file and range. */
  readonly #loadingLarge = new Map<string, Promise<Buffer>>()
  /** The block asked for last: most readers ask for the same one many times in a row. */
  #newest: number | undefined
  #bytes = 0

  constructor(blockBytes: number, bytesMax: number) {
    this.#blockBytes = blockBytes
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** The range if it lies in one block that is here; undefined otherwise. */
  peek(source: BlockSource, position: number, length: number): Buffer | undefined {
    const index = Math.floor(position / this.#blockBytes)
    const key = source.cacheId * BLOCKS_PER_FILE_MAX + index
    const block = this.#blocks.get(key)
    if (block === undefined) return undefined
    const begin = position - index * this.#blockBytes
    if (begin + length > block.length) return undefined
    this.#touch(key, block)
    return block.subarray(begin, begin + length)
  }

  /** Exactly these bytes, all below `readableBytes`; fewer only where the file is shorter than it should be. */
  async read(source: BlockSource, position: number, length: number): Promise<Buffer> {
    const first = Math.floor(position / this.#blockBytes)
    const last = Math.floor((position + length - 1) / this.#blockBytes)
    if (first === last) {
      const begin = position - first * this.#blockBytes
      const block = await this.#block(source, first, begin + length)
      return block.subarray(begin, begin + length)
    }
    if (last - first >= BLOCKS_PER_READ_MAX) return await this.#large(source, position, length)
    const parts: Buffer[] = []
    for (let index = first; index <= last; index += 1) {
      const blockBegin = index * this.#blockBytes
      const begin = Math.max(0, position - blockBegin)
      const end = Math.min(this.#blockBytes, position + length - blockBegin)
      const block = await this.#block(source, index, end)
      parts.push(block.subarray(begin, end))
    }
    return Buffer.concat(parts)
  }

  /** Forgets all blocks of a file, for instance when it was removed. */
  forget(cacheId: number): void {
    for (const [key, block] of this.#blocks) {
      if (Math.floor(key / BLOCKS_PER_FILE_MAX) !== cacheId) continue
      this.#blocks.delete(key)
      this.#bytes -= block.length
    }
  }

  /** Bypasses the cache; concurrent requests for the same range share one read. */
  async #large(source: BlockSource, position: number, length: number): Promise<Buffer> {
    const key = `${source.cacheId}:${position}:${length}`
    const loading = this.#loadingLarge.get(key)
    if (loading !== undefined) return await loading
    const target = Buffer.allocUnsafeSlow(length)
    const load = source.read(target, position).then((read) => target.subarray(0, read))
    this.#loadingLarge.set(key, load)
    try {
      return await load
    } finally {
      this.#loadingLarge.delete(key)
    }
  }

  /** A block with at least `neededBytes`; the last one of a file that grows is read again when it has grown. */
  async #block(source: BlockSource, index: number, neededBytes: number): Promise<Buffer> {
    const key = source.cacheId * BLOCKS_PER_FILE_MAX + index
    for (;;) {
      const known = this.#blocks.get(key)
      if (known !== undefined && known.length >= neededBytes) {
        this.#touch(key, known)
        return known
      }
      const loading = this.#loading.get(key)
      if (loading === undefined) break
      const block = await loading
      if (block.length >= neededBytes) return block
      // That read began before the file had grown this far. The first of those who waited reads again.
    }
    const load = this.#load(source, index, key)
    this.#loading.set(key, load)
    try {
      return await load
    } finally {
      this.#loading.delete(key)
    }
  }

  async #load(source: BlockSource, index: number, key: number): Promise<Buffer> {
    const begin = index * this.#blockBytes
    const target = Buffer.allocUnsafeSlow(Math.max(0, Math.min(this.#blockBytes, source.readableBytes - begin)))
    const block = target.subarray(0, await source.read(target, begin))
    const known = this.#blocks.get(key)
    if (known !== undefined) this.#bytes -= known.length
    this.#bytes += block.length
    this.#newest = undefined
    this.#touch(key, block)
    this.#evict()
    return block
  }

  /** Makes it the one that is forgotten last. */
  #touch(key: number, block: Buffer): void {
    if (this.#newest === key) return
    this.#newest = key
    this.#blocks.delete(key)
    this.#blocks.set(key, block)
  }

  #evict(): void {
    for (const [key, block] of this.#blocks) {
      if (this.#bytes <= this.#bytesMax) return
      this.#blocks.delete(key)
      this.#bytes -= block.length
    }
  }
}
