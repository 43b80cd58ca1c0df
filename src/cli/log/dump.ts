// `sser log dump`: the records of a log that nobody has open, one JSON object per line, and any damage in between.
import { DiskFiles, type Finding, inspectLog, severityOf } from '../../../storage-engine/index.ts'
import { type CliHost, exitWhole, written } from '../host.ts'
import { findingJson, recordLine } from '../log-dump.ts'
import { progressBar } from '../progress-bar.ts'
import { exitCodeOf, findingText } from './findings.ts'
import { findLog, lockToRead } from './log-folder.ts'
import type { Wanted } from './options.ts'

export async function dump(wanted: Wanted, host: CliHost): Promise<number> {
  const directory = await findLog(wanted.directory, host)
  const locks = await lockToRead(directory, host)
  try {
    const bar = progressBar(host.stderr, 'Reading')
    const options = { depth: 'outline', progress: bar.update } as const
    const inspection = await inspectLog(new DiskFiles(), directory, options).finally(bar.clear)
    try {
      const met: Finding[] = []
      for await (const item of inspection.records(wanted.range)) {
        if ('damage' in item) met.push(item.damage)
        const line =
          'damage' in item
            ? JSON.stringify({ damage: findingJson(item.damage) })
            : recordLine(item.record, wanted.withPayloads)
        if (!(await written(host, `${line}\n`))) return exitWhole
      }
      const inTheWay = inspection.findings.filter(({ kind }) => severityOf(kind) === 'refused')
      for (const finding of inTheWay) host.stderr.write(`sser log: left out: ${findingText(finding)}`)
      return exitCodeOf([...inTheWay, ...met])
    } finally {
      await inspection.close()
    }
  } finally {
    for (const lock of locks) await lock.release()
  }
}
