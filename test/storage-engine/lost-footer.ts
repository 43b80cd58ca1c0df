/** A log whose first segment has lost its footer and its sidecar: what it may have held goes on behind its last record. */

import assert from 'node:assert/strict'
import { indexName, segmentName } from '../../storage-engine/data-directory.ts'
import { FOOTER_BYTES, type Offset } from '../../storage-engine/format.ts'
import type { Log } from '../../storage-engine/log.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import type { Damage } from '../../storage-engine/observer.ts'
import { openSmall } from './small-log.ts'

export interface LostFooter {
  /** With the log in `/log`. */
  readonly files: MemoryFiles
  readonly log: Log
  /** Of the records of `streamId`, ascending: three before the damage, and three behind it. */
  readonly offsets: readonly Offset[]
  readonly streamId: number
  readonly damage: Damage
}

export async function openWithLostFooter(): Promise<LostFooter> {
  const files = new MemoryFiles()
  const streamId = 100
  const offsets: Offset[] = []
  // Each life begins with a segment of its own, and with numbers far above those of the one before.
  for (let life = 0; life < 2; life += 1) {
    const log = await openSmall(files, '/log')
    for (let i = 0; i < 3; i += 1) offsets.push(await log.append({ streamId, kind: 3, payload: Buffer.from('x') }))
    await log.close()
  }
  await files.remove(`/log/${indexName(1)}`)
  const file = await files.open(`/log/${segmentName(1)}`, 'update')
  await file.truncate(file.sizeBytes - FOOTER_BYTES)
  await file.close()
  const log = await openSmall(files, '/log')
  const [damage] = log.damages
  assert(damage !== undefined && log.damages.length === 1)
  assert.equal(damage.after, offsets[2])
  assert(damage.through > damage.after && damage.through < offsets[3]!)
  return { files, log, offsets, streamId, damage }
}
