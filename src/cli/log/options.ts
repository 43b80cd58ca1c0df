// The command line of `sser log`, checked.
import { parseArgs } from 'node:util'
import { EVERYTHING, type RecordRange } from '../../../storage-engine/index.ts'
import { parseEventId } from '../../domain/event-id.ts'
import { quoted } from './words.ts'

const COMMANDS = ['info', 'verify', 'dump', 'repair', 'compact', 'backup', 'restore'] as const
export type LogCommand = (typeof COMMANDS)[number]

export interface Wanted {
  readonly command: LogCommand
  readonly directory: string | undefined
  readonly json: boolean
  readonly withPayloads: boolean
  readonly range: RecordRange
  /** The folder that backup writes, and restore reads; empty for the others. */
  readonly backupFolder: string
  readonly verifiesCopy: boolean
  readonly isAgreed: boolean
}

export class UsageError extends Error {}

/** Undefined: help is wanted. Throws UsageError. */
export function parseWanted(args: readonly string[]): Wanted | undefined {
  const [command, ...rest] = args
  if (args.includes('--help') || args.includes('-h') || command === 'help') return undefined
  if (!isCommand(command)) {
    throw new UsageError(command === undefined ? 'a command is missing.' : `there is no command ${quoted(command)}.`)
  }
  const { values, positionals } = parseOptions(command, rest)
  const { directory, json, from, to, topic } = values
  for (const [name, folder] of Object.entries({ directory, backup: values.backup })) {
    if (folder === '') throw new UsageError(`--${name} needs a folder.`)
  }
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
    withPayloads: values['no-payloads'] !== true,
    range,
    backupFolder: folderOf(command, positionals) ?? values.backup ?? '',
    verifiesCopy: values.verify ?? false,
    isAgreed: values.yes ?? false,
  }
}

function isCommand(text: string | undefined): text is LogCommand {
  return COMMANDS.some((command) => command === text)
}

const COMMON = { directory: { type: 'string' }, json: { type: 'boolean' } } as const
const DUMP = {
  from: { type: 'string' },
  to: { type: 'string' },
  topic: { type: 'string' },
  'no-payloads': { type: 'boolean' },
} as const
const BACKUP = { verify: { type: 'boolean' } } as const
const REPAIR = { backup: { type: 'string' }, yes: { type: 'boolean' } } as const
const OWN = { dump: DUMP, backup: BACKUP, repair: REPAIR } as const

function parseOptions(command: LogCommand, args: readonly string[]) {
  const options = { ...COMMON, ...DUMP, ...BACKUP, ...REPAIR }
  try {
    const parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true })
    for (const name of Object.keys(parsed.values)) {
      const owner = Object.entries(OWN).find(([, own]) => name in own)?.[0]
      if (owner !== undefined && owner !== command) throw new UsageError(`--${name} is an option of ${owner} only.`)
    }
    return parsed
  } catch (error) {
    // parseArgs says what is wrong in words that name the option.
    if (error instanceof TypeError && 'code' in error) throw new UsageError(error.message)
    throw error
  }
}

function folderOf(command: LogCommand, positionals: readonly string[]): string | undefined {
  const [folder, ...others] = positionals
  if (command !== 'backup' && command !== 'restore') {
    if (folder !== undefined) throw new UsageError(`${command} takes no ${quoted(folder)}.`)
    return undefined
  }
  if (folder === undefined || folder === '' || others.length > 0) {
    throw new UsageError(`${command} needs one folder: the one of the backup.`)
  }
  return folder
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
