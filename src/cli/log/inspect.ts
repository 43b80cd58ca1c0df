// `sser log info` and `sser log verify`: what the log consists of, and whether all of it is intact.
import { inspectLog } from '../../../storage-engine/index.ts'
import { type CliHost, written } from '../host.ts'
import { progressBar } from '../progress-bar.ts'
import { exitCodeOf } from './findings.ts'
import { accessLog } from './log-access.ts'
import { findLog } from './log-folder.ts'
import type { Wanted } from './options.ts'
import { countTopics, reportOf } from './report.ts'

export async function inspect(wanted: Wanted, host: CliHost): Promise<number> {
  const directory = await findLog(wanted.directory, host)
  const access = await accessLog(directory, host)
  try {
    const depth = wanted.command === 'verify' ? 'full' : 'outline'
    const bar = progressBar(host.stderr, 'Reading')
    const inspection = await inspectLog(access.files, directory, { depth, progress: bar.update }).finally(bar.clear)
    try {
      const report = reportOf(directory, inspection, await countTopics(inspection), access.live)
      access.confirm()
      const text = wanted.json ? `${JSON.stringify(report.json)}\n` : depth === 'full' ? report.verify : report.info
      await written(host, text)
      return exitCodeOf(inspection.findings)
    } finally {
      await inspection.close()
    }
  } finally {
    await access.close()
  }
}
