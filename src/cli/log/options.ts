// The validated options of a `sser log` command.
import { EVERYTHING, type RecordRange } from '../../../storage-engine/index.ts'
import { parseEventId } from '../../domain/event-id.ts'
import { UsageError } from '../host.ts'
import type { LogCommandName, LogOptions } from './commands.ts'
import { quoted } from './words.ts'

export interface Wanted {
  readonly command: LogCommandName
  readonly directory: string | undefined
  readonly json: boolean
  readonly withPayloads: boolean
  readonly range: RecordRange
  /** The folder that backup writes, and restore and repair read; empty where none is given. */
  readonly backupFolder: string
  readonly verifiesCopy: boolean
  readonly isAgreed: boolean
}

/** Throws UsageError. */
export function wantedOf(command: LogCommandName, folder: string | undefined, options: LogOptions): Wanted {
  const { directory, json, from, to, topic, payloads, verify, backup, yes } = options
  for (const [name, given] of Object.entries({ directory, backup })) {
    if (given === '') throw new UsageError(`--${name} needs a folder.`)
  }
  if (folder === '') throw new UsageError(`${command} needs a folder: the one of the backup.`)
  const range = {
    ...EVERYTHING,
    ...boundOf('--from', from, 'from', 'fromMs'),
    ...boundOf('--to', to, 'through', 'throughMs'),
    ...(topic !== undefined && { streamId: topicNumber(topic) }),
  }
  return {
    command,
    directory,
    json: json ?? false,
    withPayloads: payloads ?? true,
    range,
    backupFolder: folder ?? backup ?? '',
    verifiesCopy: verify ?? false,
    isAgreed: yes ?? false,
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
