/**
 * Every file name that the engine uses, made and parsed here and nowhere else. Numbers have a fixed width, so that a
 * sorted listing is in their order. A generation is never used twice.
 */

const NUMBERED = /^(?:segment-(\d{16})\.(log|index)|(manifest|checkpoint)-(\d{16}))$/
const TEMPORARY_SUFFIX = '.tmp'

export const LOCK_NAME = 'LOCK'
export const RESERVE_NAME = 'reserve'
/** Says that a copy of the log is whole, and of which files. */
export const BACKUP_NAME = 'backup.json'
/** In its place while a copy is being made. */
export const BACKUP_UNFINISHED_NAME = 'backup.unfinished.json'

export type ParsedName =
  | { readonly kind: 'segment' | 'index'; readonly generation: number }
  | { readonly kind: 'manifest' | 'checkpoint'; readonly number: number }
  | { readonly kind: 'temporary' | 'lock' | 'reserve' | 'backup' | 'unknown' }

export function segmentName(generation: number): string {
  return `segment-${fixedWidth(generation)}.log`
}

export function indexName(generation: number): string {
  return `segment-${fixedWidth(generation)}.index`
}

export function manifestName(number: number): string {
  return `manifest-${fixedWidth(number)}`
}

export function checkpointName(number: number): string {
  return `checkpoint-${fixedWidth(number)}`
}

/** The name that a file has until it is whole and durable. */
export function temporaryName(name: string): string {
  return name + TEMPORARY_SUFFIX
}

export function parseName(name: string): ParsedName {
  const numbered = parseNumbered(name)
  if (numbered !== undefined) return numbered
  if (name === LOCK_NAME || name.startsWith(`${LOCK_NAME}.`)) return { kind: 'lock' }
  if (name === RESERVE_NAME) return { kind: 'reserve' }
  if (name === BACKUP_NAME || name === BACKUP_UNFINISHED_NAME) return { kind: 'backup' }
  if (name.endsWith(TEMPORARY_SUFFIX)) {
    const inner = parseName(name.slice(0, -TEMPORARY_SUFFIX.length))
    return { kind: inner.kind === 'unknown' ? 'unknown' : 'temporary' }
  }
  return { kind: 'unknown' }
}

function parseNumbered(name: string): ParsedName | undefined {
  const [, generation, ending, kind, ownNumber] = NUMBERED.exec(name) ?? []
  const number = Number(generation ?? ownNumber ?? 0)
  // 0 stands for none, and above 2^53 a number is no longer itself.
  if (number === 0 || !Number.isSafeInteger(number)) return undefined
  if (kind === 'manifest' || kind === 'checkpoint') return { kind, number }
  return { kind: ending === 'log' ? 'segment' : 'index', generation: number }
}

function fixedWidth(number: number): string {
  return String(number).padStart(16, '0')
}
