/**
 * Repairs a log that nobody has open, at an operator's request, as far as that takes no guessing: files that keep a
 * start from being attempted are moved away; so are damaged indexes, which the next start rebuilds; and damaged
 * segments are replaced by the same ones from a backup, which never differ.
 *
 * Nothing is destroyed: whatever is moved or replaced ends up in a folder of its own. Damage that no backup can mend
 * stays where it is, so that readers still learn of it.
 */

import { copyFile } from './backup.ts'
import { indexName, parseName } from './data-directory.ts'
import type { Files } from './files.ts'
import type { LogInspection } from './inspect.ts'
import { type Finding, severityOf } from './inspect-findings.ts'

export interface RepairStep {
  readonly kind: 'move-away' | 'replace'
  readonly file: string
  readonly reason: string
}

export interface RepairPlan {
  readonly steps: readonly RepairStep[]
  /** Damage that stays. */
  readonly left: readonly Finding[]
}

/** Both inspections read every byte. The backup is one of the same log. */
export function planRepair(log: LogInspection, backup: LogInspection | undefined): RepairPlan {
  const steps = new Map<string, RepairStep>()
  const left: Finding[] = []
  const whole = new Set(backup === undefined ? [] : wholeSegments(backup))
  for (const finding of log.findings) {
    const { kind, file, reason } = finding
    const isSegment = parseName(file).kind === 'segment'
    if (kind === 'sidecar-damaged' || (severityOf(kind) === 'refused' && kind !== 'headless')) {
      if (!steps.has(file)) steps.set(file, { kind: 'move-away', file, reason })
    } else if (severityOf(kind) === 'note') continue
    else if (isSegment && whole.has(file)) steps.set(file, { kind: 'replace', file, reason })
    else left.push(finding)
  }
  return { steps: [...steps.values()], left }
}

/** Names of those that are sealed, and in which nothing was found. */
function wholeSegments({ segments, findings }: LogInspection): string[] {
  const damaged = new Set(findings.filter(({ kind }) => severityOf(kind) !== 'note').map(({ file }) => file))
  return segments.filter(({ file, state }) => state === 'sealed' && !damaged.has(file)).map(({ file }) => file)
}

/**
 * Takes the steps. `away` is a new folder on the same file system. Cut off at any place, it leaves every file in one folder
 * or the other, and a second repair goes on.
 */
export async function repairLog(
  files: Files,
  directory: string,
  steps: readonly RepairStep[],
  away: string,
  backup: string | undefined,
): Promise<void> {
  await files.makeDirectory(away)
  const names = new Set(await files.list(directory))
  for (const { kind, file } of steps) {
    const parsed = parseName(file)
    const sidecar = parsed.kind === 'segment' ? indexName(parsed.generation) : undefined
    if (kind === 'replace' && backup !== undefined) {
      if (names.has(file)) await copyFile(files, `${directory}/${file}`, files, away, file)
      await copyFile(files, `${backup}/${file}`, files, directory, file)
    } else if (names.has(file)) await files.rename(`${directory}/${file}`, `${away}/${file}`)
    // It may tell of the file that is not there any more.
    if (sidecar !== undefined && names.has(sidecar)) {
      await files.rename(`${directory}/${sidecar}`, `${away}/${sidecar}`)
      names.delete(sidecar)
    }
    names.delete(file)
  }
  await files.syncDirectory(away)
  await files.syncDirectory(directory)
}
