/** Servers to be compared with, under the same load as ours. */
import { type Bench, loadTo, warmUp } from './bench.ts'
import { DELIVERIES, deliver, openLoop } from './delivery.ts'
import { LoadProcess } from './load-process.ts'
import type { Peer } from './start-prototype.ts'

/** `missingMax`: so many events may be missing; undefined: as many as it loses. */
export async function measurePeer(
  bench: Bench,
  start: (directory: string) => Promise<Peer>,
  missingMax?: number,
): Promise<void> {
  await withPeer(bench, start, async (port, load) => {
    await warmUp(bench, port, ['A'], load)
    for (const connections of [1, 16, 64]) {
      const { perSecond } = await load.call('publishInLoop', { ...loadTo(bench, port, ['A']), connections })
      bench.note(`durable, ${connections} connections, 1 topics`, perSecond, '/s')
    }
  })
  for (const [topicCount, publishers] of DELIVERIES) {
    const ids = [...'ABCDEFGHIJ'].slice(0, topicCount)
    await withPeer(bench, start, (port, load) => deliver(bench, port, ids, publishers, load, { missingMax }))
  }
  await withPeer(bench, start, (port, load) => openLoop(bench, port, 'A', load))
}

async function withPeer(
  { work }: Bench,
  start: (directory: string) => Promise<Peer>,
  measure: (port: number, load: LoadProcess) => Promise<void>,
): Promise<void> {
  const peer = await start(work)
  const load = new LoadProcess()
  try {
    await measure(peer.port, load)
  } finally {
    await load.close()
    await peer.close()
  }
}
