/** Programs of the system that some tests need, and where they cannot run, the words to say so. */
import { type ChildProcess, spawnSync } from 'node:child_process'

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

/** Whether strace, with its standard error as a pipe, has attached to a process: true, or what it said instead. */
export function hasAttached(tracer: ChildProcess): Promise<true | string> {
  return new Promise((resolve) => {
    let said = ''
    tracer.stderr?.setEncoding('utf8')
    tracer.stderr?.on('data', (text: string) => {
      said += text
      if (/ attached/.test(said)) resolve(true)
    })
    tracer.once('close', () => resolve(said.trim()))
  })
}
