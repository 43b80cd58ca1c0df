// The findings of an inspection in words, and the resulting exit code.
import { CATALOG_STREAM, type Finding, severityOf } from '../../../storage-engine/index.ts'
import { TICKET_STREAM } from '../../domain/entry.ts'
import { PUBLISH_KEY_STREAM } from '../../domain/publish-key-entry.ts'
import { exitDamaged, exitRefused, exitWhole } from '../host.ts'
import { topicOf } from '../log-dump.ts'
import { idOf, plural } from './words.ts'

const IDS_SHOWN_MAX = 5
const TOPICS_SHOWN_MAX = 10

export function findingText({ kind, file, position, bytes, reason, after, through, lost }: Finding): string {
  const where = bytes > 0 ? ` at ${position}, ${plural(bytes, 'byte')}` : ''
  const lines = [`${kind}: ${file}${where}: ${reason}.`]
  if (through !== after) {
    const upTo = through === undefined ? 'whatever came behind' : `up to ${idOf(through)}`
    lines.push(`  Ids that may be lost: above ${idOf(after)}, ${upTo}.`)
    if (lost === undefined) lines.push('  No index tells whose they were: it may concern every topic.')
    else if (lost.length === 0)
      lines.push('  By its index it holds no record: nothing that a subscriber reads is lost.')
    else lines.push(...lostLines(lost))
  }
  return `${lines.join('\n')}\n`
}

function lostLines(lost: NonNullable<Finding['lost']>): string[] {
  const byTopic = grouped(lost)
  const lines = [...byTopic].slice(0, TOPICS_SHOWN_MAX).map(([streamId, records]) => {
    const ids = records.slice(0, IDS_SHOWN_MAX).map(({ offset }) => idOf(offset))
    const more = records.length > IDS_SHOWN_MAX ? ` and ${records.length - IDS_SHOWN_MAX} more` : ''
    return `  ${whoseIs(streamId)}: ${ids.join(', ')}${more}.`
  })
  if (byTopic.size > TOPICS_SHOWN_MAX) lines.push(`  And ${byTopic.size - TOPICS_SHOWN_MAX} more topics.`)
  return lines
}

function whoseIs(streamId: number): string {
  const topic = topicOf(streamId)
  if (topic !== null) return `Topic ${topic}`
  if (streamId === TICKET_STREAM) return 'Tickets'
  if (streamId === PUBLISH_KEY_STREAM) return 'Keys of what was published'
  return streamId === CATALOG_STREAM ? 'The catalogue of topics' : "The log's own"
}

function grouped(lost: NonNullable<Finding['lost']>): Map<number, { readonly offset: number }[]> {
  const groups = new Map<number, { readonly offset: number }[]>()
  for (const record of lost) {
    const group = groups.get(record.streamId)
    if (group === undefined) groups.set(record.streamId, [record])
    else group.push(record)
  }
  return groups
}

export function exitCodeOf(findings: readonly Finding[]): number {
  const severities = findings.map(({ kind }) => severityOf(kind))
  if (severities.includes('refused')) return exitRefused
  return severities.includes('damage') ? exitDamaged : exitWhole
}
