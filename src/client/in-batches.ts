/**
 * Reads items from a source while others are being processed: whatever has arrived goes out together, waiting for at most one
 * batch. The source is read no faster than its items are taken.
 */

/** May be changed during iteration. */
export interface BatchLimits {
  itemsMax: number
  /** A larger item goes out by itself. */
  sizeMax: number
}

/** If the source fails, what came before goes out first. Rejects with the source's error, or the signal's reason. */
export async function* inBatches<Item>(
  source: AsyncIterable<Item> | Iterable<Item>,
  sizeOf: (item: Item) => number,
  limits: Readonly<BatchLimits>,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly Item[], void, void> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  let waiting: Item[] = []
  let size = 0
  let end: { readonly failure?: unknown } | undefined
  let isLeft = false
  let onItem: (() => void) | undefined
  let onTaken: (() => void) | undefined
  const isFull = () => waiting.length >= limits.itemsMax || size >= limits.sizeMax

  async function fill(): Promise<void> {
    for (;;) {
      const step = await iterator.next()
      if (step.done === true) return
      const itemSize = sizeOf(step.value)
      while (!isLeft && waiting.length > 0 && (isFull() || size + itemSize > limits.sizeMax)) {
        await new Promise<void>((resolve) => {
          onTaken = resolve
        })
      }
      if (isLeft) return
      waiting.push(step.value)
      size += itemSize
      onItem?.()
    }
  }

  const wake = () => onItem?.()
  const ended = (failure?: unknown) => {
    end = failure === undefined ? {} : { failure }
    wake()
  }
  fill().then(() => ended(), ended)
  signal?.addEventListener('abort', wake)
  try {
    for (;;) {
      while (waiting.length === 0 && end === undefined && signal?.aborted !== true) {
        await new Promise<void>((resolve) => {
          onItem = resolve
        })
      }
      signal?.throwIfAborted()
      if (waiting.length === 0) {
        if (end !== undefined && 'failure' in end) throw end.failure
        return
      }
      const batch = waiting
      waiting = []
      size = 0
      onTaken?.()
      yield batch
    }
  } finally {
    signal?.removeEventListener('abort', wake)
    isLeft = true
    onTaken?.()
    // It may be waiting for its next item indefinitely.
    if (end === undefined) Promise.resolve(iterator.return?.()).catch(() => undefined)
  }
}
