/**
 * How much of a topic is kept. Limits are independent: an event is dropped as soon as one of them requires it. What is
 * dropped is always the oldest, so that one number per topic, its mark, says what is gone. Pure.
 */

export interface Retention {
  /** Events older than this are dropped, by the times recorded with them; undefined: no limit on age. */
  readonly maxAgeMs: number | undefined
  /** For all events together, as stored in the log, without padding. */
  readonly maxBytes: number | undefined
  readonly maxEvents: number | undefined
}

/** In a change: undefined leaves a limit as it is, null removes it. */
export type RetentionChange = { readonly [Limit in keyof Retention]?: number | null | undefined }

export const unlimited: Retention = { maxAgeMs: undefined, maxBytes: undefined, maxEvents: undefined }

export function isUnlimited({ maxAgeMs, maxBytes, maxEvents }: Retention): boolean {
  return maxAgeMs === undefined && maxBytes === undefined && maxEvents === undefined
}

export function changedRetention(present: Retention, change: RetentionChange): Retention {
  const limit = (name: keyof Retention) => {
    const wanted = change[name]
    return wanted === undefined ? present[name] : (wanted ?? undefined)
  }
  const changed = { maxAgeMs: limit('maxAgeMs'), maxBytes: limit('maxBytes'), maxEvents: limit('maxEvents') }
  return isUnlimited(changed) ? unlimited : changed
}

/** Whether these figures exceed the limits, apart from age. */
export function isOverLimit({ maxBytes, maxEvents }: Retention, events: number, bytes: number): boolean {
  return (maxEvents !== undefined && events > maxEvents) || (maxBytes !== undefined && bytes > maxBytes)
}
