/** What a piece of code asks the disk to make lasting, in its order, as strace sees it from outside. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { builtMain } from './server-process.ts'

/**
 * Runs `script` with what the built module exports in `it` (`import … as it`), and tells for the paths at and below `directory`
 * what was synced and renamed, as `fsync /name`. Where strace may not trace: in words why.
 */
export function diskSteps(directory: string, module: string, script: string): readonly string[] | string {
  const folder = mkdtempSync(join(tmpdir(), 'sser-steps-'))
  try {
    const traced = join(folder, 'calls')
    const trace = ['-f', '-y', '-o', traced, '-e', 'trace=fdatasync,fsync,/^rename']
    const code = `import * as it from ${JSON.stringify(join(dirname(builtMain()), module))}\n${script}`
    const command = [...trace, process.execPath, '--input-type=module', '-e', code]
    const { status, stderr } = spawnSync('strace', command, { encoding: 'utf8' })
    if (status !== 0) return `strace may not trace here: ${stderr}`
    return readFileSync(traced, 'utf8')
      .split('\n')
      .flatMap((line) => {
        const [, call, path = ''] = /(fdatasync|fsync|rename)\w*\((.*)/.exec(line) ?? []
        const at = path.indexOf(directory)
        return call === undefined || at === -1 ? [] : [`${call} ${/^[^">]*/.exec(path.slice(at + directory.length))}`]
      })
  } finally {
    rmSync(folder, { recursive: true })
  }
}
