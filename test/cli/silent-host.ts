/** A process around commands that reads nothing and prints nowhere. */
import { tmpdir } from 'node:os'
import { PassThrough, Readable } from 'node:stream'
import type { CliHost } from '../../src/cli/host.ts'

export function silentHost(parts: Partial<CliHost> = {}): CliHost {
  return {
    cwd: tmpdir(),
    env: {},
    stdin: Readable.from([]),
    stdout: new PassThrough().resume(),
    stderr: { write: () => undefined },
    stopSignal: () => new AbortController().signal,
    exitCode: 0,
    ...parts,
  }
}
