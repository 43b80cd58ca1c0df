/** Starts the prototype in a process of its own. Promises that it ends with `close()`, or with its parent. */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** A server to be compared with, in processes of its own. */
export interface Peer {
  readonly port: number
  close(): Promise<void>
}

export async function startPrototype(directory: string): Promise<Peer> {
  const path = fileURLToPath(new URL('prototype.ts', import.meta.url))
  const child = fork(path, [directory], { execArgv: ['--import', 'tsx'] })
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
  })
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', (message: number) => resolve(message))
    child.once('exit', () => reject(new Error('The prototype ended at its start.')))
  })
  return {
    port,
    async close() {
      child.kill()
      await exited
    },
  }
}
