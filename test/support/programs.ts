/** Programs of the system that some tests need, and where they cannot run, the words to say so. */
import { spawnSync } from 'node:child_process'

/** False: it may be used. Otherwise why not, for a test's `skip`. */
export function missingProgram(name: string): string | false {
  const found = spawnSync('sh', ['-c', `command -v ${name}`]).status === 0
  return found ? false : `${name} is not installed`
}

/** As `missingProgram`, for what needs a small file system of its own. */
export function missingTmpfs(): string | false {
  if (process.platform !== 'linux') return 'a small tmpfs needs Linux'
  if (process.getuid?.() !== 0) return 'only root may mount a small tmpfs'
  return missingProgram('mount')
}
