import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDecoder, type SseEvent } from '../../src/sse/decode.ts'
import { API_TOKEN, errorOf, METRICS_TOKEN, startFixture } from './fixture.ts'

const path = '/api/v1/dashboard/events'

async function readEvents(url: string, count: number, headers: Record<string, string> = {}): Promise<SseEvent[]> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${METRICS_TOKEN}`, ...headers } })
  assert.equal(response.status, 200)
  const events: SseEvent[] = []
  const decoder = createDecoder({ onEvent: (event) => events.push(event), bufferBytesMax: 1_000_000 })
  for await (const chunk of response.body ?? []) {
    decoder.feed(chunk)
    if (events.length >= count) break
  }
  return events
}

test('the feed gives samples to the metrics token and to the API token, and to nobody else', async (t) => {
  const { origin, createTopic } = await startFixture(t)
  const topic = await createTopic()
  for (const token of ['wrong', topic.token]) {
    const response = await fetch(origin + path, { headers: { authorization: `Bearer ${token}` } })
    assert.equal((await errorOf(response)).code, 401)
  }
  const head = await fetch(origin + path, { method: 'HEAD', headers: { authorization: `Bearer ${API_TOKEN}` } })
  assert.deepEqual([head.status, head.headers.get('content-type')], [200, 'text/event-stream'])
  const [history, sample] = await readEvents(origin + path, 2)
  assert.deepEqual([history?.type, sample?.type], ['sser.history', 'sser.figures'])
  const { time, figures, health, loop_lag_ms, log } = JSON.parse(sample?.data ?? '')
  assert.equal(sample?.lastEventId, String(time))
  assert.equal(figures.active_topics, 1)
  assert.deepEqual([health, log], [{ status: 'ready' }, null])
  assert.ok(loop_lag_ms >= 0)
})

test('who comes back gets what was missed, and nothing twice', async (t) => {
  const { origin, createTopic, publish } = await startFixture(t)
  const { id } = await createTopic()
  const [, first] = await readEvents(origin + path, 2)
  await publish(id, { message: 1 })
  const [history, , second] = await readEvents(origin + path, 3)
  const rows = JSON.parse(history?.data ?? '') as number[][]
  assert.equal(String(rows[0]?.[0]), first?.lastEventId)
  assert.equal(JSON.parse(second?.data ?? '').figures.message_received, 1)
  const [missed] = await readEvents(origin + path, 1, { 'last-event-id': first?.lastEventId ?? '' })
  const later = JSON.parse(missed?.data ?? '') as number[][]
  assert.ok(later.length > 0 && later.every(([time = 0]) => time > Number(first?.lastEventId)))
})

test('a stop ends the feed at once', async (t) => {
  const { origin, http } = await startFixture(t)
  const response = await fetch(origin + path, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
  const text = response.text()
  await http.close(60_000)
  assert.match(await text, /^event: sser\.history\n/)
})
