// `sser log repair`: repairs what can be repaired without guessing, in the log of a stopped server. Announces what it will do,
// asks, and keeps everything that it moves or replaces in a separate folder.
import { join, resolve } from 'node:path'
import {
  DiskFiles,
  inspectLog,
  type LogInspection,
  planRepair,
  type RepairPlan,
  readBackup,
  repairLog,
} from '../../../storage-engine/index.ts'
import { type CliHost, CommandFailure, exitUsage, written } from '../host.ts'
import { findingJson } from '../log-dump.ts'
import { progressBar } from '../progress-bar.ts'
import { exitCodeOf, findingText } from './findings.ts'
import { dataFolderOf, findLog, leaveToOwner, lockToWrite } from './log-folder.ts'
import type { Wanted } from './options.ts'
import { plural } from './words.ts'

export async function repair(wanted: Wanted, host: CliHost): Promise<number> {
  const directory = await findLog(wanted.directory, host)
  const lock = await lockToWrite(dataFolderOf(directory), host)
  try {
    const backup = wanted.backupFolder === '' ? undefined : resolve(host.cwd, wanted.backupFolder)
    const plan = await planned(directory, backup, host)
    const away = join(dataFolderOf(directory), `repair-${new Date().toISOString().replaceAll(':', '-')}`)
    const isDone = plan.steps.length > 0 && (await isAgreed(plan, away, wanted, host))
    if (isDone) {
      await repairLog(new DiskFiles(), directory, plan.steps, away, backup)
      await leaveToOwner(away)
      await leaveToOwner(dataFolderOf(directory))
      await leaveToOwner(directory)
    }
    await report(plan, isDone ? away : undefined, wanted, host)
    return isDone || plan.steps.length === 0 ? exitCodeOf(plan.left) : exitUsage
  } finally {
    await lock.release()
  }
}

async function planned(directory: string, backup: string | undefined, host: CliHost): Promise<RepairPlan> {
  const inspections: LogInspection[] = []
  try {
    const log = await inspected(directory, host)
    inspections.push(log)
    if (backup === undefined) return planRepair(log, undefined)
    await readBackup(new DiskFiles(), backup)
    const copy = await inspected(backup, host)
    inspections.push(copy)
    const isSameLog =
      copy.identity !== undefined && Buffer.compare(copy.identity, log.identity ?? Buffer.alloc(0)) === 0
    if (!isSameLog) throw new CommandFailure(exitUsage, `${backup} is not a backup of the log in ${directory}.`)
    return planRepair(log, copy)
  } finally {
    for (const inspection of inspections) await inspection.close()
  }
}

async function inspected(directory: string, host: CliHost): Promise<LogInspection> {
  const bar = progressBar(host.stderr, 'Reading')
  return await inspectLog(new DiskFiles(), directory, { depth: 'full', progress: bar.update }).finally(bar.clear)
}

async function isAgreed(plan: RepairPlan, away: string, wanted: Wanted, host: CliHost): Promise<boolean> {
  if (wanted.isAgreed) return true
  host.stderr.write(stepWords(plan, away))
  if (host.ask === undefined) {
    throw new CommandFailure(exitUsage, 'nobody can be asked here. If that is to be done, add --yes.')
  }
  return /^y(es)?$/i.test((await host.ask('Do that? [y/N] ')).trim())
}

function stepWords({ steps }: RepairPlan, away: string): string {
  const lines = steps.map(({ kind, file, reason }) => {
    return kind === 'replace'
      ? `  ${file}: ${reason}. It is replaced by the same file out of the backup.\n`
      : `  ${file}: ${reason}. It is moved away.\n`
  })
  return `To be done; what is there now will lie in ${away}:\n${lines.join('')}`
}

async function report(plan: RepairPlan, away: string | undefined, wanted: Wanted, host: CliHost): Promise<void> {
  const json = {
    is_done: away !== undefined,
    kept_in: away ?? null,
    steps: plan.steps.map(({ kind, file, reason }) => ({ kind, file, reason })),
    left: plan.left.map(findingJson),
  }
  const done =
    away !== undefined
      ? `Repaired ${plural(plan.steps.length, 'file')}. What was there before lies in ${away}.\n`
      : plan.steps.length === 0
        ? 'There is nothing that can be repaired.\n'
        : 'Nothing was changed.\n'
  const left =
    plan.left.length === 0
      ? ''
      : `${plan.left.map(findingText).join('')}This stays as it is: a server starts with it, and tells the readers concerned.\n`
  await written(host, wanted.json ? `${JSON.stringify(json)}\n` : done + left)
}
