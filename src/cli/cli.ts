// The process around the program `sser`: its streams, its environment, its signals.
import { createInterface } from 'node:readline/promises'
import { type CliHost, Interruption, STOP_SIGNALS, type StopSignalName } from './host.ts'
import { runProgram } from './program.ts'

/** Runs a command to its end; resolves with the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  const { env, stdin, stdout, stderr } = process
  // A reader that has gone away is reported by the failing write.
  for (const stream of [stdout, stderr]) stream.on('error', () => undefined)
  const host: CliHost = {
    cwd: process.cwd(),
    env,
    stdin,
    stdout,
    stderr,
    stopSignal: onStopSignal(),
    ask: terminalQuestion(),
    exitCode: 0,
  }
  return runProgram(args, host)
}

/** Undefined unless a person sits at both ends. */
function terminalQuestion(): ((question: string) => Promise<string>) | undefined {
  const { stdin, stderr } = process
  if (!stdin.isTTY || !stderr.isTTY) return undefined
  return async (question) => {
    const lines = createInterface({ input: stdin, output: stderr })
    return await lines.question(question).finally(() => lines.close())
  }
}

/** Signals are handled only once a command requests that: others end the process as usual. */
function onStopSignal(): () => AbortSignal {
  let stopping: AbortController | undefined
  function onSignal(name: StopSignalName): void {
    // The next signal ends the process.
    for (const each of STOP_SIGNALS) process.off(each, onSignal)
    stopping?.abort(new Interruption(name))
  }
  return () => {
    if (stopping === undefined) {
      stopping = new AbortController()
      for (const name of STOP_SIGNALS) process.on(name, onSignal)
    }
    return stopping.signal
  }
}
