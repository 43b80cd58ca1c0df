// `sser log backup DIR`: copies the log of a server, stopped or running, or updates an existing copy. The copy contains everything
// that was acknowledged before the command began.
import { realpath } from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'
import { copyLog, DiskFiles, inspectLog, severityOf } from '../../../storage-engine/index.ts'
import { type CliHost, CommandFailure, exitCannotCreate, systemCodeOf, written } from '../host.ts'
import { formatBytes, progressBar } from '../progress-bar.ts'
import { exitCodeOf, findingText } from './findings.ts'
import { accessLog } from './log-access.ts'
import { dataFolderOf, findLog } from './log-folder.ts'
import type { Wanted } from './options.ts'
import { plural } from './words.ts'

export async function backup(wanted: Wanted, host: CliHost): Promise<number> {
  const directory = await findLog(wanted.directory, host)
  const target = resolve(host.cwd, wanted.backupFolder)
  await refuseInside(target, dataFolderOf(directory))
  const access = await accessLog(directory, host)
  try {
    const bar = progressBar(host.stderr, 'Copying')
    const report = await copyLog(new DiskFiles(), directory, await access.list(), target, {
      progress: bar.update,
      confirm: access.confirm,
      nowMs: Date.now(),
    }).finally(bar.clear)
    const { findings, exitCode } = wanted.verifiesCopy ? await verified(target, host) : { findings: '', exitCode: 0 }
    const json = {
      directory,
      backup: target,
      files_copied: report.filesCopied,
      bytes_copied: report.bytesCopied,
      files_kept: report.filesKept,
      bytes_kept: report.bytesKept,
      files_removed: report.filesRemoved,
      verified: wanted.verifiesCopy,
      is_whole: exitCode === 0,
    }
    const words =
      `${findings}Copied ${plural(report.filesCopied, 'file')}, ${formatBytes(report.bytesCopied)}, to ${target}; ` +
      `${plural(report.filesKept, 'file')}, ${formatBytes(report.bytesKept)}, ${report.filesKept === 1 ? 'was' : 'were'} ` +
      `there already${wanted.verifiesCopy && exitCode === 0 ? '. Every byte of the copy is as it was written' : ''}.\n`
    await written(host, wanted.json ? `${JSON.stringify(json)}\n` : words)
    return exitCode
  } finally {
    await access.close()
  }
}

async function verified(target: string, host: CliHost) {
  const bar = progressBar(host.stderr, 'Verifying')
  const options = { depth: 'full', progress: bar.update } as const
  const inspection = await inspectLog(new DiskFiles(), target, options).finally(bar.clear)
  await inspection.close()
  const telling = inspection.findings.filter(({ kind }) => severityOf(kind) !== 'note')
  return { findings: telling.map(findingText).join(''), exitCode: exitCodeOf(inspection.findings) }
}

/** A copy inside the original would be taken for a part of it. */
async function refuseInside(target: string, dataFolder: string): Promise<void> {
  const [inner, outer] = [await existing(target), await realpath(dataFolder)]
  if (inner !== outer && !inner.startsWith(`${outer}${sep}`)) return
  throw new CommandFailure(exitCannotCreate, `no backup is made in ${target}: it lies in the data folder itself.`)
}

/** Where the path leads; if it does not exist yet, where its parent does. */
async function existing(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (systemCodeOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    return await existing(dirname(path))
  }
}
