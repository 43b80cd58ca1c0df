/** What a repair leaves of the files that it moves away and replaces, also where the power goes when it is done. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { indexName, segmentName } from '../../storage-engine/data-directory.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { repairLog } from '../../storage-engine/repair.ts'

test('a repaired log has the files of the backup, and what was damaged lies beside it, for good', async () => {
  const files = new FaultyFiles()
  for (const directory of ['/log', '/backup']) await files.makeDirectory(directory)
  const put = (path: string, text: string) => files.putFile(path, Buffer.from(text))
  put(`/log/${segmentName(1)}`, 'damaged')
  put(`/log/${indexName(1)}`, 'of the damaged one')
  put(`/log/${indexName(2)}`, 'doubtful')
  put(`/backup/${segmentName(1)}`, 'whole')
  const steps = [
    { kind: 'replace', file: segmentName(1), reason: 'damaged' },
    { kind: 'move-away', file: indexName(2), reason: 'doubtful' },
  ] as const
  await repairLog(files, '/log', steps, '/log.repaired', '/backup')
  for (const disk of [files, files.powerLoss()]) {
    const textOf = (path: string) => Buffer.from(disk.readFile(path)).toString()
    assert.deepEqual(await disk.list('/log'), [segmentName(1)])
    assert.equal(textOf(`/log/${segmentName(1)}`), 'whole')
    assert.equal(textOf(`/log.repaired/${segmentName(1)}`), 'damaged')
    assert.equal(textOf(`/log.repaired/${indexName(1)}`), 'of the damaged one')
    assert.equal(textOf(`/log.repaired/${indexName(2)}`), 'doubtful')
  }
})
