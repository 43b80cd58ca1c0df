/** The registry of what is fuzzed. A round takes well under a millisecond, or the target says so. */

import { base62, config, entries, topicInput } from './input.ts'
import { lastEventId } from './last-event-id.ts'
import { checkpoint, manifest, recovery, snapshot } from './log-files.ts'
import { publishInput } from './publish.ts'
import { sseDecode, sseRoundTrip } from './sse.ts'
import { indexFile, logScan, recordDecode } from './storage-engine.ts'
import type { FuzzTarget } from './target.ts'

export const targets: readonly FuzzTarget[] = [
  sseRoundTrip,
  sseDecode,
  base62,
  publishInput,
  topicInput,
  lastEventId,
  config,
  entries,
  recordDecode,
  logScan,
  indexFile,
  manifest,
  checkpoint,
  snapshot,
  recovery,
]
