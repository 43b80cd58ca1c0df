/** What it costs to look at a server with many topics and subscribers: a scrape, and a page of a sorted list of topics. */
import { once } from 'node:events'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { API_TOKEN, type ServerProcess } from '../support/server-process.ts'
import type { Bench } from './bench.ts'
import { makeLog } from './make-log.ts'
import { median } from './quantiles.ts'

const LOOP_PROBE = fileURLToPath(new URL('loop-probe.mjs', import.meta.url))
const MESSAGE_BYTES = 120
const WARM_UP_MS = 1_000
const TOPICS = 100_000
const SUBSCRIBERS = 10_000
const CALLS = 100
const WARM_UP_CALLS = 40
const PAUSE_MS = 50
const LIST = '/api/v1/pubsubs?sort=events&order=desc&limit=50'

const TARGETS = { scrapeMs: 20, loopMs: 5 }

export async function measureMetrics(bench: Bench): Promise<void> {
  const topics = bench.scaled(TOPICS)
  const directory = join(bench.work, 'scraped')
  const made = await makeLog(directory, { events: topics, topics, messageBytes: MESSAGE_BYTES, lastEvents: 0 })
  const options = {
    directory,
    nodeArguments: ['--import', LOOP_PROBE],
    // Nobody is spoken to meanwhile, so that what holds the loop up is what was asked for.
    settings: { pubsub: { tickFrequency: '5m' }, limits: { topicsMax: 2 * TOPICS } },
  }
  await bench.withServer('scraped', options, async (server, load) => {
    const count = bench.scaled(SUBSCRIBERS)
    const topicIds = Array.from({ length: count }, (_, index) => made.topicIds[index % topics] as string)
    await load.call('subscribe', { port: server.port, token: API_TOKEN, topicIds })
    await delay(WARM_UP_MS)
    const among = `with ${topics} topics and ${count} subscribers`
    await measureCall(bench, server, '/metrics', `scrape ${among}`, TARGETS.scrapeMs)
    await measureCall(bench, server, LIST, `page of a sorted list ${among}`)
  })
}

/** And what holds up the loop between these calls, when nothing is asked for: the machine, and the server's own clockwork. */
async function measureCall(
  bench: Bench,
  server: ServerProcess,
  path: string,
  what: string,
  targetMs?: number,
): Promise<void> {
  for (let call = 0; call < WARM_UP_CALLS; call += 1) await answered(server.port, path)
  const took: number[] = []
  const between: Held[] = []
  const during: Held[] = []
  await heldUp(server)
  for (let call = 0; call < CALLS; call += 1) {
    await delay(PAUSE_MS)
    between.push(await heldUp(server))
    took.push(await answered(server.port, path))
    during.push(await heldUp(server))
  }
  const heldMs = (held: readonly Held[]) => held.map((each) => each.heldMs)
  const longest = during.reduce((one, other) => (other.heldMs > one.heldMs ? other : one))
  bench.note(`${what}, median`, median(took), 'ms', targetMs, 'less')
  bench.note(`${what}, longest of ${CALLS}`, Math.max(...took), 'ms')
  bench.note(`${what}: the loop is held up for, median`, median(heldMs(during)), 'ms', TARGETS.loopMs, 'less')
  bench.note(`${what}: the loop is held up for, longest`, longest.heldMs, 'ms', TARGETS.loopMs, 'less')
  bench.note(`${what}: the longest pause of the collector in that one`, longest.pauseMs, 'ms')
  const over = during.filter((each) => each.heldMs > TARGETS.loopMs).length
  bench.note(`${what}: the loop is held up for more than ${TARGETS.loopMs} ms`, over, `of ${CALLS}`)
  bench.note(`${what}: between them it is held up for, median`, median(heldMs(between)), 'ms')
  bench.note(`${what}: between them it is held up for, longest`, Math.max(...heldMs(between)), 'ms')
}

async function answered(port: number, path: string): Promise<number> {
  const beganAt = performance.now()
  const request = get({ host: '127.0.0.1', port, path, headers: { authorization: `Bearer ${API_TOKEN}` } })
  const [response] = (await once(request, 'response')) as [NodeJS.ReadableStream & { statusCode: number }]
  if (response.statusCode !== 200) throw new Error(`${path} was answered with ${response.statusCode}.`)
  response.resume()
  await once(response, 'end')
  return performance.now() - beganAt
}

/** For how long at most since this was asked last, and the longest pause of the collector. */
interface Held {
  readonly heldMs: number
  readonly pauseMs: number
}

async function heldUp(server: ServerProcess): Promise<Held> {
  server.lines.length = 0
  process.kill(server.pid, 'SIGUSR2')
  return JSON.parse((await server.line(/^loop held up /)).slice('loop held up '.length))
}
