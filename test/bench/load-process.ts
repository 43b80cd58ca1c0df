/**
 * A load generator in a process of its own, as the benchmark sees it: commands go in, results come out. Promises that
 * the process ends with `close()`, or with its parent. What the commands do stands in load.ts.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { LoadCommands } from './load.ts'

export class LoadProcess {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  #calls = 0

  constructor() {
    this.#child = fork(fileURLToPath(new URL('load.ts', import.meta.url)), { execArgv: ['--import', 'tsx'] })
    this.#child.on('message', (message: { call: number; result?: unknown; error?: string }) => {
      const waiting = this.#waiting.get(message.call)
      this.#waiting.delete(message.call)
      if (message.error === undefined) waiting?.resolve(message.result)
      else waiting?.reject(new Error(message.error))
    })
    this.#child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`A load process ended: ${code ?? signal}`))
    })
  }

  call<Name extends keyof LoadCommands>(
    command: Name,
    options: Parameters<LoadCommands[Name]>[0],
  ): ReturnType<LoadCommands[Name]> {
    const call = this.#calls++
    const answer = new Promise((resolve, reject) => {
      this.#waiting.set(call, { resolve, reject })
      this.#child.send({ call, command, options })
    })
    return answer as ReturnType<LoadCommands[Name]>
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return
    this.#waiting.clear()
    await new Promise((resolve) => {
      this.#child.once('exit', resolve)
      this.#child.kill()
    })
  }
}
