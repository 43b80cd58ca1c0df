/** `sser bench` against a server with logs in memory, and what it makes of one that loses events. */
import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { type BenchPlan, measure } from '../../src/cli/bench/measure.ts'
import { Interruption } from '../../src/cli/host.ts'
import { runProgram } from '../../src/cli/program.ts'
import { type ReceivedItem, SserClient, SserError } from '../../src/client/index.ts'
import { API_TOKEN, type Fixture, METRICS_TOKEN, startFixture } from '../http/fixture.ts'
import { silentHost } from './silent-host.ts'

interface RunOptions {
  readonly token?: string
  /** As on a terminal: told of each thing that is drawn there. */
  readonly onDrawn?: (text: string) => void
  readonly signal?: AbortSignal
}

async function run(fixture: Fixture, args: readonly string[], options: RunOptions = {}) {
  const { token = API_TOKEN, onDrawn, signal = new AbortController().signal } = options
  const stdout = new PassThrough().setEncoding('utf8')
  let [out, err] = ['', '']
  stdout.on('data', (text: string) => {
    out += text
  })
  const stderr = {
    isTTY: onDrawn !== undefined,
    write(text: string) {
      err += text
      onDrawn?.(text)
    },
  }
  const env = { SSER_URL: fixture.origin, SSER_TOKEN: token }
  const host = silentHost({ env, stdout, stderr, stopSignal: () => signal })
  return { code: await runProgram(['bench', ...args], host), out, err }
}

async function topicsOf(fixture: Fixture): Promise<number> {
  const { topics } = await new SserClient({ url: fixture.origin, token: API_TOKEN }).topics.list()
  return topics.length
}

test('what was acknowledged is counted at every subscriber, and the topic is gone afterwards', async (context) => {
  const fixture = await startFixture(context)
  const before = await topicsOf(fixture)
  const args = ['--publishers', '2', '--subscribers', '15', '--batch', '3', '--seconds', '1', '--bytes', '40', '--json']
  const { code, out, err } = await run(fixture, args)
  assert.deepEqual([code, err], [0, ''])
  const figures = JSON.parse(out) as Record<string, number> & { arrived_ms: Record<string, number> }
  assert.ok((figures['published'] ?? 0) > 0)
  assert.equal(figures['published'], 3 * (figures['requests'] ?? 0))
  assert.equal(figures['delivered'], 15 * (figures['published'] ?? 0))
  assert.deepEqual([figures['missing'], figures['failed_requests'], figures['gaps']], [0, 0, 0])
  const { p50 = 0, p99 = 0, max = 0 } = figures.arrived_ms
  assert.ok(p50 > 0 && p50 <= p99 && p99 <= max * 1.01)
  assert.equal(await topicsOf(fixture), before)
})

test('at a rate no more is published than it says', async (context) => {
  const fixture = await startFixture(context)
  const { code, out } = await run(fixture, [
    '--rate',
    '20',
    '--seconds',
    '1',
    '--subscribers',
    '0',
    '--memory',
    '--json',
  ])
  const { published } = JSON.parse(out) as { published: number }
  assert.equal(code, 0)
  assert.ok(published >= 1 && published <= 20, String(published))
})

test('a signal ends it early, with what was measured, and the topic is gone', async (context) => {
  const fixture = await startFixture(context)
  const before = await topicsOf(fixture)
  const stopping = new AbortController()
  const { code, out, err } = await run(fixture, ['--seconds', '600', '--subscribers', '2'], {
    signal: stopping.signal,
    onDrawn(text) {
      if (text.includes('Measuring: 1 of 600 s')) stopping.abort(new Interruption('SIGINT'))
    },
  })
  assert.ok(err.endsWith('\r\x1b[K'), 'what was drawn is taken away')
  assert.equal(code, 130)
  assert.match(out, /^Published {2}\d+ events, /)
  assert.equal(await topicsOf(fixture), before)
})

test('a server that refuses it is told as by every other command', async (context) => {
  const fixture = await startFixture(context)
  const { code, err } = await run(fixture, ['--seconds', '1'], { token: METRICS_TOKEN })
  assert.equal(code, 77)
  assert.match(err, /^sser bench: /)
  for (const args of [
    ['--seconds', '0'],
    ['--bytes', '3'],
    ['--rate', '5', '--batch', '10'],
  ]) {
    assert.equal((await run(fixture, args)).code, 64, args.join(' '))
  }
})

const PLAN: BenchPlan = {
  publishers: 1,
  subscribers: 2,
  seconds: 1,
  messageBytes: 20,
  batch: 1,
  perSecond: 50,
  isPersistent: true,
  silenceMsMax: 200,
}

/** One whose streams leave out every fifth event, and whose every third publish is refused. */
function lossyClient(): SserClient {
  const events: string[] = []
  let calls = 0
  const client = {
    async publish(_topic: string, { message }: { message: string }) {
      calls += 1
      if (calls % 3 === 0) throw new SserError('SSER_REFUSED', 'Too much to do.', { status: 503 })
      events.push(message)
      return { id: String(events.length) }
    },
    async *subscribe(_topic: string, { signal }: { signal: AbortSignal }): AsyncGenerator<ReceivedItem> {
      for (let next = 0; ; next += 1) {
        while (next >= events.length) {
          await new Promise((resolve) => setTimeout(resolve, 1))
          signal.throwIfAborted()
        }
        if (next % 5 === 4) continue
        yield { kind: 'event', id: '', type: 'message', data: events[next] ?? '', cursor: '' }
      }
    },
  }
  return client as unknown as SserClient
}

test('events that do not come, and requests that are refused, are counted', async () => {
  const measured = await measure(lossyClient(), 'topic', PLAN, new AbortController().signal, () => undefined)
  assert.ok(measured.failed > 0)
  assert.equal(measured.failure, 'Too much to do.')
  assert.ok(measured.published >= 5, String(measured.published))
  assert.ok(measured.missing >= 2)
  assert.equal(measured.delivered + measured.missing, 2 * measured.published)
})
