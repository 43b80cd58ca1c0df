// The reports of `sser log info` and `sser log verify`: the same facts for programs, and in words.
import { createHash } from 'node:crypto'
import { CATALOG_STREAM, EVERYTHING, type LogInspection, severityOf } from '../../../storage-engine/index.ts'
import type { LiveFigures } from '../../control/protocol.ts'
import { decodeTopicDeleted, EntryError, TOPIC_CREATED, TOPIC_DELETED } from '../../domain/entry.ts'
import { findingJson } from '../log-dump.ts'
import { formatBytes } from '../progress-bar.ts'
import { findingText } from './findings.ts'
import { idOf, plural, timeOf } from './words.ts'

export interface TopicCounts {
  readonly created: number
  readonly deleted: number
}

export async function countTopics(inspection: LogInspection): Promise<TopicCounts> {
  const topics = new Set<number>()
  let deleted = 0
  for await (const item of inspection.records({ ...EVERYTHING, streamId: CATALOG_STREAM })) {
    if (!('record' in item)) continue
    const { kind, offset, payload } = item.record
    if (kind === TOPIC_CREATED) topics.add(offset)
    try {
      if (kind === TOPIC_DELETED && topics.delete(decodeTopicDeleted(payload).topic)) deleted += 1
    } catch (error) {
      if (!(error instanceof EntryError)) throw error
    }
  }
  return { created: topics.size + deleted, deleted }
}

export function reportOf(
  directory: string,
  inspection: LogInspection,
  topics: TopicCounts,
  live: LiveFigures | undefined,
) {
  const { segments, findings, ceiling, reserveBytes } = inspection
  const holding = segments.filter(({ records, state }) => records > 0 && state !== 'overlapping')
  const total = {
    bytes: segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    records: holding.reduce((sum, { records }) => sum + records, 0),
    first: holding[0]?.first,
    last: holding.at(-1)?.last,
    from: holding.length === 0 ? undefined : Math.min(...holding.map(({ timeMsMin }) => timeMsMin)),
    to: holding.length === 0 ? undefined : Math.max(...holding.map(({ timeMsMax }) => timeMsMax)),
  }
  const count = (severity: string) => findings.filter(({ kind }) => severityOf(kind) === severity).length
  const json = {
    directory,
    identity_sha256: fingerprint(inspection.identity) ?? null,
    bytes: total.bytes,
    records: total.records,
    topics: topics.created - topics.deleted,
    topics_deleted: topics.deleted,
    first_id: idOf(total.first),
    last_id: idOf(total.last),
    first_time: timeOf(total.from),
    last_time: timeOf(total.to),
    ceiling: idOf(ceiling),
    reserve_bytes: reserveBytes ?? null,
    server: live === undefined ? null : liveJson(live),
    is_whole: count('damage') === 0 && count('refused') === 0,
    segments: segments.map((segment) => ({
      file: segment.file,
      state: segment.state,
      bytes: segment.sizeBytes,
      records: segment.records,
      first_id: idOf(segment.records === 0 ? undefined : segment.first),
      last_id: idOf(segment.records === 0 ? undefined : segment.last),
      first_time: timeOf(segment.records === 0 ? undefined : segment.timeMsMin),
      last_time: timeOf(segment.records === 0 ? undefined : segment.timeMsMax),
      created_at: timeOf(segment.createdMs),
      index: segment.index,
    })),
    findings: findings.map((finding) => ({ severity: severityOf(finding.kind), ...findingJson(finding) })),
  }
  const told = findings.map((finding) => findingText(finding)).join('')
  const verdict = verdictOf(count('damage'), count('refused'))
  const size = `${plural(total.records, 'record')} in ${plural(segments.length, 'segment')}, ${formatBytes(total.bytes)}`
  const rows = segments.map(({ file, state, sizeBytes, records, first, last, timeMsMin, timeMsMax, index }) => {
    const numbers =
      records === 0 ? '' : `, ${idOf(first)} to ${idOf(last)}, ${timeOf(timeMsMin)} to ${timeOf(timeMsMax)}`
    const sidecar = index === 'none' ? '' : `, index ${index}`
    return `  ${file}  ${state}, ${formatBytes(sizeBytes)}, ${plural(records, 'record')}${numbers}${sidecar}\n`
  })
  const info = [
    `Log        ${directory}\n`,
    `Identity   ${json.identity_sha256 ?? 'unknown'} (SHA-256 of it, the first 16 digits)\n`,
    `Holds      ${size}\n`,
    `Topics     ${json.topics}, and ${plural(topics.deleted, 'deleted one')}\n`,
    total.first === undefined ? '' : `Ids        ${json.first_id} to ${json.last_id}\n`,
    total.first === undefined ? '' : `Times      ${json.first_time} to ${json.last_time}\n`,
    `Ceiling    ${json.ceiling}: no id at or above it was ever given\n`,
    live === undefined
      ? `Reserve    ${reserveBytes === undefined ? 'none' : formatBytes(reserveBytes)}\n`
      : liveText(live),
    `Segments\n${rows.join('')}`,
    told,
    `${verdict === undefined ? 'No damage is known' : verdict}; only \`sser log verify\` reads every byte.\n`,
  ].join('')
  const verify = `${told}Read ${size}: ${verdict === undefined ? 'every byte is as it was written' : verdict}.\n`
  return { json, info, verify }
}

function verdictOf(damages: number, refusals: number): string | undefined {
  const words = [
    ...(refusals > 0 ? [`${plural(refusals, 'thing')} in the way of a start`] : []),
    ...(damages > 0 ? [plural(damages, 'damage')] : []),
  ]
  return words.length === 0 ? undefined : words.join(', ')
}

function liveJson({ pid, uptimeMs, statistics }: LiveFigures) {
  const { compaction } = statistics
  return {
    pid,
    uptime_ms: uptimeMs,
    pending_bytes: statistics.pendingBytes,
    cached_bytes: statistics.cachedBytes,
    damages: statistics.damages,
    bytes_on_disk: statistics.bytesOnDisk,
    quota_bytes: statistics.quotaBytes ?? null,
    compaction:
      compaction === undefined
        ? null
        : {
            is_running: compaction.isRunning,
            runs: compaction.runs,
            bytes_read: compaction.bytesRead,
            bytes_written: compaction.bytesWritten,
            dead_share: compaction.deadShare,
          },
  }
}

function liveText({ pid, uptimeMs, statistics }: LiveFigures): string {
  const { compaction, quotaBytes } = statistics
  const quota = quotaBytes === undefined ? '' : ` of ${formatBytes(quotaBytes)} that it may have`
  const compacted =
    compaction === undefined
      ? 'is switched off'
      : `${plural(compaction.runs, 'run')}, read ${formatBytes(compaction.bytesRead)}, wrote ${formatBytes(compaction.bytesWritten)}; ` +
        `${Math.round(compaction.deadShare * 100)} % of what it knows is dead${compaction.isRunning ? '; works now' : ''}`
  return (
    `Server     process ${pid}, running for ${Math.round(uptimeMs / 1000)} s\n` +
    `On disk    ${formatBytes(statistics.bytesOnDisk)}${quota}\n` +
    `Waiting    ${formatBytes(statistics.pendingBytes)} for the disk\n` +
    `Compaction ${compacted}\n`
  )
}

/** The identity itself is not shown: whoever knows it can forge a log. */
function fingerprint(identity: Uint8Array | undefined): string | undefined {
  return identity === undefined ? undefined : createHash('sha256').update(identity).digest('hex').slice(0, 16)
}
