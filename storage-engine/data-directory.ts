/**
 * Every name that the engine gives to a file, made and parsed here and nowhere else. Numbers have a fixed width, so
 * that a sorted listing is in the order of generations. A generation is never used twice.
 */

const NUMBERED = /^segment-(\d{16})\.(log|index)$/
const TEMPORARY_SUFFIX = '.tmp'

export const LOCK_NAME = 'LOCK'
export const RESERVE_NAME = 'reserve'

export type ParsedName =
  | { readonly kind: 'segment' | 'index'; readonly generation: number }
  | { readonly kind: 'temporary' | 'lock' | 'reserve' | 'unknown' }

export function segmentName(generation: number): string {
  return `segment-${String(generation).padStart(16, '0')}.log`
}

export function indexName(generation: number): string {
  return `segment-${String(generation).padStart(16, '0')}.index`
}

/** The name that a file has until it is whole and durable. */
export function temporaryName(name: string): string {
  return name + TEMPORARY_SUFFIX
}

export function parseName(name: string): ParsedName {
  const [, generation, ending] = NUMBERED.exec(name) ?? []
  if (generation !== undefined && Number(generation) > 0 && Number.isSafeInteger(Number(generation))) {
    return { kind: ending === 'log' ? 'segment' : 'index', generation: Number(generation) }
  }
  if (name === LOCK_NAME || name.startsWith(`${LOCK_NAME}.`)) return { kind: 'lock' }
  if (name === RESERVE_NAME) return { kind: 'reserve' }
  if (name.endsWith(TEMPORARY_SUFFIX)) {
    const inner = parseName(name.slice(0, -TEMPORARY_SUFFIX.length))
    return { kind: inner.kind === 'unknown' ? 'unknown' : 'temporary' }
  }
  return { kind: 'unknown' }
}
