/**
 * A log as it is at one moment, for whoever copies it: the files it consists of, none of which is removed or changed
 * until the pin is released. Meanwhile the log goes on in files that are not part of it.
 */

import { indexName, manifestName } from './data-directory.ts'
import { encodeManifest } from './manifest.ts'
import type { Segment, SegmentContext } from './segment.ts'
import type { SegmentSet } from './segment-set.ts'

export interface PinnedLog {
  readonly identity: Uint8Array
  /** The sealed segments, in the order of the log. */
  readonly segments: readonly { readonly name: string; readonly sizeBytes: number }[]
  /** Names of those that have been made so far; the others can be made again. */
  readonly sidecars: readonly string[]
  /** What the segment that is being written begins with: a file of these bytes alone ends the copy. */
  readonly tail: { readonly name: string; readonly header: Uint8Array }
  /** Undefined where the log was never compacted. */
  readonly manifest: { readonly name: string; readonly bytes: Uint8Array } | undefined
  /** Idempotent. */
  release(): void
}

/** Rejects with what the disk throws; then nothing is kept. */
export async function pinLog(segments: SegmentSet): Promise<PinnedLog> {
  const pin = segments.pin()
  const { context, active, manifest } = segments
  const sealed = segments.all.filter(({ isSealed }) => isSealed)
  const sidecars = sealed.filter(({ index }) => index.sizeBytes > 0).map(({ generation }) => indexName(generation))
  try {
    const header = Buffer.alloc(active.headerEnd)
    await active.read(header, 0)
    const sized: { name: string; sizeBytes: number }[] = []
    for (const segment of sealed) sized.push({ name: segment.name, sizeBytes: await sizeOf(context, segment) })
    return {
      identity: active.identity,
      segments: sized,
      sidecars,
      tail: { name: active.name, header },
      manifest:
        manifest.number === 0 ? undefined : { name: manifestName(manifest.number), bytes: encodeManifest(manifest) },
      release: () => pin.release(),
    }
  } catch (error) {
    pin.release()
    throw error
  }
}

/** As it lies on the disk, where damage may have left other bytes than those that are known. */
async function sizeOf({ files }: SegmentContext, { path }: Segment): Promise<number> {
  const file = await files.open(path, 'read')
  try {
    return file.sizeBytes
  } finally {
    await file.close()
  }
}
