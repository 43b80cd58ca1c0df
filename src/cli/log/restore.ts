// `sser log restore DIR`: turns a backup into the log of a data folder, which must not be in use nor contain a log. Until
// everything is in place and durable, the result does not count as a log either.
import { readdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DiskFiles, readBackup, restoreLog } from '../../../storage-engine/index.ts'
import { durableOptions } from '../../app/app.ts'
import { loadConfig } from '../../config/config.ts'
import { type CliHost, CommandFailure, exitCannotCreate, exitNoInput, written } from '../host.ts'
import { formatBytes, progressBar } from '../progress-bar.ts'
import { askedFolder, dataFolderOf, leaveToOwner, lockToWrite, namesIn } from './log-folder.ts'
import type { Wanted } from './options.ts'
import { plural } from './words.ts'

/** What a data folder may contain beside the log. */
const OTHERS = /^(LOCK(\..*)?|tokens\.json|lost\+found|repair-.*)$/
const UNFINISHED_NAME = 'log.restoring'

export async function restore(wanted: Wanted, host: CliHost): Promise<number> {
  const files = new DiskFiles()
  const backup = resolve(host.cwd, wanted.backupFolder)
  if ((await namesIn(backup)).length === 0) throw new CommandFailure(exitNoInput, `there is no backup in ${backup}.`)
  const listing = await readBackup(files, backup)
  const folder = dataFolderOf(askedFolder(wanted.directory, host))
  await files.makeDirectory(folder)
  const lock = await lockToWrite(folder, host)
  try {
    await refuseUsed(folder)
    const unfinished = join(folder, UNFINISHED_NAME)
    await rm(unfinished, { recursive: true, force: true })
    const bar = progressBar(host.stderr, 'Copying')
    const { config } = loadConfig({ env: host.env, cwd: host.cwd })
    await restoreLog(files, backup, listing, unfinished, durableOptions(config), bar.update).finally(bar.clear)
    await leaveToOwner(unfinished)
    // Replaces the empty folder that a server leaves behind.
    await rm(join(folder, 'log'), { recursive: true, force: true })
    await files.rename(unfinished, join(folder, 'log'))
    await files.syncDirectory(folder)
    await leaveToOwner(folder)
  } finally {
    await lock.release()
  }
  const bytes = listing.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const json = { backup, directory: join(folder, 'log'), files: listing.files.length, bytes }
  const words = `Restored ${plural(json.files, 'file')}, ${formatBytes(bytes)}, to ${json.directory}.\n`
  await written(host, wanted.json ? `${JSON.stringify(json)}\n` : words)
  return 0
}

async function refuseUsed(folder: string): Promise<void> {
  const other = (await readdir(folder)).find((name) => !OTHERS.test(name) && name !== 'log' && name !== UNFINISHED_NAME)
  const inLog = (await namesIn(join(folder, 'log')))[0]
  const found = other ?? (inLog === undefined ? undefined : join('log', inLog))
  if (found === undefined) return
  throw new CommandFailure(
    exitCannotCreate,
    `nothing is restored into ${folder}: it holds ${found} already. Move that away, or name an empty folder by --directory.`,
  )
}
