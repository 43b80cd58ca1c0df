// `sser log compact`: rewrites the log now, without dead records: through the running server, or, where none runs, here, with the
// catalogue of topics that a server would have.
import { readdir } from 'node:fs/promises'
import { basename } from 'node:path'
import {
  type CompactionReport,
  type DirectoryLock,
  DiskFiles,
  Log,
  type LogOptions,
  MemoryFiles,
  Sequencer,
  type StorageObserver,
  silentObserver,
} from '../../../storage-engine/index.ts'
import { durableOptions } from '../../app/app.ts'
import { loadConfig } from '../../config/config.ts'
import { askCompaction } from '../../control/control-client.ts'
import { Hub, type HubOptions } from '../../domain/hub.ts'
import { silentHubObserver, systemClock } from '../../domain/ports.ts'
import { unlimited } from '../../domain/retention.ts'
import { type CliHost, CommandFailure, exitDamaged, exitUsage, written } from '../host.ts'
import { formatBytes, type Terminal } from '../progress-bar.ts'
import { whereLocked } from './log-access.ts'
import { dataFolderOf, findLog, leaveToOwner, lockToWrite } from './log-folder.ts'
import type { Wanted } from './options.ts'
import { plural } from './words.ts'

export async function compact(wanted: Wanted, host: CliHost): Promise<number> {
  const directory = await findLog(wanted.directory, host)
  if ((await readdir(directory)).includes('backup.json') && basename(directory) !== 'log') {
    throw new CommandFailure(exitUsage, `${directory} is a backup, which is not compacted.`)
  }
  const line = progressLine(host.stderr)
  const report = await compacted(directory, host, line.update).finally(line.clear)
  const json = {
    directory,
    runs: report.runs,
    bytes_read: report.bytesRead,
    bytes_written: report.bytesWritten,
    bytes_freed: report.bytesFreed ?? null,
  }
  const freed = report.bytesFreed === undefined ? '' : `: ${formatBytes(report.bytesFreed)} less than before`
  const words =
    report.runs === 0
      ? 'There was nothing to compact.\n'
      : `Compacted in ${plural(report.runs, 'run')}: read ${formatBytes(report.bytesRead)}, wrote ${formatBytes(report.bytesWritten)}${freed}.\n`
  await written(host, wanted.json ? `${JSON.stringify(json)}\n` : words)
  return 0
}

interface Outcome extends CompactionReport {
  /** Undefined where others wrote to the log in the meantime. */
  readonly bytesFreed: number | undefined
}

async function compacted(
  directory: string,
  host: CliHost,
  onProgress: (report: CompactionReport) => void,
): Promise<Outcome> {
  const folder = dataFolderOf(directory)
  let lock: DirectoryLock
  try {
    lock = await lockToWrite(folder, host)
  } catch (error) {
    const report = await whereLocked(error, () => askCompaction(folder, onProgress))
    return { ...report, bytesFreed: undefined }
  }
  try {
    const { config } = loadConfig({ env: host.env, cwd: host.cwd })
    return await compactHere(directory, durableOptions(config), onProgress)
  } finally {
    await leaveToOwner(directory)
    await lock.release()
  }
}

async function compactHere(
  directory: string,
  options: LogOptions,
  onProgress: (report: CompactionReport) => void,
): Promise<Outcome> {
  let bytesFreed = 0
  const done = () => log.statistics().compaction ?? NOTHING_DONE
  const observer: StorageObserver = {
    ...silentObserver,
    compacted({ bytesBefore, bytesAfter }) {
      bytesFreed += bytesBefore - bytesAfter
      onProgress(done())
    },
  }
  const sequencer = new Sequencer()
  const log = await Log.open(new DiskFiles(), sequencer, observer, directory, options)
  const volatile = { ...options, isDurable: false, reserveBytes: 0 }
  const memory = await Log.open(new MemoryFiles(), sequencer, silentObserver, '/memory', volatile)
  try {
    // The hub knows which topics exist, and what is dead of each.
    const hub = await Hub.open(log, memory, sequencer, silentHubObserver, systemClock, HUB_OPTIONS)
    try {
      const { judge } = hub
      if (judge === undefined) throw damagedCatalog()
      log.startCompaction({ judge, ...COMPACTION })
      await log.compact()
      return { ...done(), bytesFreed }
    } finally {
      await hub.close()
    }
  } finally {
    await memory.close()
    await log.close()
  }
}

const NOTHING_DONE: CompactionReport = { runs: 0, bytesRead: 0, bytesWritten: 0 }

/** At full speed, everything that is dead, and only once. */
const COMPACTION = { bytesPerSecondMax: Number.POSITIVE_INFINITY, deadShareMin: 0, intervalMs: 24 * 3600 * 1000 }

/** Nobody publishes or subscribes here. */
const HUB_OPTIONS: HubOptions = {
  recentFramesBytesMax: 0,
  topicsMax: Number.MAX_SAFE_INTEGER,
  subscribersMax: 0,
  streamsPerTopicMax: Number.POSITIVE_INFINITY,
  tokensPerTopicMax: 0,
  // The longest possible value: the next server decides.
  idempotencyWindowMs: 24 * 3600 * 1000,
  idempotencyKeysMax: 0,
  ticketsMax: 0,
  ticketLifetimeMs: 120_000,
  defaultRetention: unlimited,
  heartbeatMs: 60_000,
  streamAgeMsMax: 60_000,
  writeTimeoutMs: 60_000,
  retryMs: 1000,
  drainRetryMs: 1000,
}

function damagedCatalog(): CommandFailure {
  return new CommandFailure(
    exitDamaged,
    'the catalogue of topics is damaged: what belongs to a topic that cannot be read would count as dead. ' +
      'Nothing was compacted. See what sser log verify says.',
  )
}

/** The total amount of work is unknown beforehand. */
function progressLine(terminal: Terminal) {
  let isDrawn = false
  return {
    update({ runs, bytesRead }: CompactionReport) {
      if (terminal.isTTY !== true) return
      isDrawn = true
      terminal.write(`\rCompacting: ${plural(runs, 'run')}, ${formatBytes(bytesRead)}\x1b[K`)
    },
    clear() {
      if (isDrawn) terminal.write('\r\x1b[K')
    },
  }
}
