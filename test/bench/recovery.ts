/** How long a start takes after a crash, and without indexes. */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerProcess } from '../support/server-process.ts'
import { type Bench, LOGGED_BYTES, loadTo, MESSAGE_BYTES, MIB } from './bench.ts'
import { makeLog } from './make-log.ts'

const RECOVERY_BYTES = 512 * 1024 * 1024

export async function measureRecovery(bench: Bench): Promise<void> {
  const directory = join(bench.work, 'recovery')
  const events = Math.ceil(bench.scaled(RECOVERY_BYTES) / LOGGED_BYTES)
  const made = await makeLog(directory, { events, topics: 1_000, messageBytes: MESSAGE_BYTES, lastEvents: 1 })
  const gigabytes = made.bytes / 1e9
  bench.note(`log of ${events} events in ${made.segments} segments`, made.bytes / MIB, 'MiB')
  const recoveredMs = async (server: ServerProcess) => {
    const line = await server.line(/"The log is recovered\."/)
    server.lines.length = 0
    return Number(JSON.parse(line).durationMs)
  }
  const log = join(directory, 'log')
  for (const name of readdirSync(log)) if (name.endsWith('.index')) rmSync(join(log, name))
  await bench.withServer('recovery', { directory }, async (server, load) => {
    bench.note('without indexes', (await recoveredMs(server)) / 1000 / gigabytes, 's/GB')
    bench.note('peak memory, indexes made anew', server.rssBytesPeak / MIB, 'MiB')
    const topicIds = made.topicIds.slice(0, 64)
    const publishing = load.call('publishInLoop', {
      ...loadTo(bench, server.port, topicIds),
      connections: 64,
      warmUpMs: 0,
    })
    await delay(1_000)
    await server.kill('SIGKILL')
    await publishing
    const beganAt = performance.now()
    await server.restart()
    bench.note('after kill -9 under load: the log', await recoveredMs(server), 'ms')
    bench.note('after kill -9 under load: from start to ready', performance.now() - beganAt, 'ms')
  })
  rmSync(directory, { recursive: true, force: true })
}
