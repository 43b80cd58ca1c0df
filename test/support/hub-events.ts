/** Shorthands of the tests of the hub. */

import { formatEventId } from '../../src/domain/event-id.ts'
import { type EventInput, Hub, type HubOptions, type ResumeRequest, type Topic } from '../../src/domain/hub.ts'
import { type Clock, type HubObserver, silentHubObserver } from '../../src/domain/ports.ts'
import { unlimited } from '../../src/domain/retention.ts'
import type { Subscription } from '../../src/domain/subscription.ts'
import { encodeFrame } from '../../src/sse/encode.ts'
import { FakeClock } from './fake-clock.ts'
import type { FakeSink } from './fake-sink.ts'
import type { HubWorld } from './hub-worlds.ts'

export const hubOptions: HubOptions = {
  recentFramesBytesMax: 1024 * 1024,
  topicsMax: 1000,
  subscribersMax: 1000,
  streamsPerTopicMax: Number.POSITIVE_INFINITY,
  tokensPerTopicMax: 100,
  idempotencyWindowMs: 120_000,
  idempotencyKeysMax: 1000,
  ticketsMax: 1000,
  ticketLifetimeMs: 120_000,
  defaultRetention: unlimited,
  heartbeatMs: 4000,
  streamAgeMsMax: 3_600_000,
  writeTimeoutMs: 20_000,
  retryMs: 1000,
  drainRetryMs: 5000,
}

type OpenHubWorld = Pick<HubWorld, 'memory' | 'numbers'> & { readonly durable: HubWorld['durable'] | undefined }

export interface OpenHubExtras {
  readonly options?: Partial<HubOptions>
  readonly clock?: Clock
  readonly observer?: Partial<HubObserver>
}

export function openHub(world: OpenHubWorld, { options, clock, observer }: OpenHubExtras = {}): Promise<Hub> {
  return Hub.open(
    world.durable,
    world.memory,
    world.numbers,
    { ...silentHubObserver, ...observer },
    clock ?? new FakeClock(),
    { ...hubOptions, ...options },
  )
}

export function eventOf(message: string, fields: { readonly id?: string; readonly type?: string } = {}): EventInput {
  return {
    key: Buffer.from(fields.id ?? ''),
    type: Buffer.from(fields.type ?? ''),
    isString: true,
    message: Buffer.from(message),
  }
}

export function frameText(number: number, event: EventInput): string {
  return Buffer.from(
    encodeFrame({ id: formatEventId(number), ...event, message: Buffer.from(event.message) }),
  ).toString('utf8')
}

export const earliest: ResumeRequest = { kind: 'earliest' }
export const live: ResumeRequest = { kind: 'live' }

export function lastEventId(id: string | number): ResumeRequest {
  return { kind: 'last-event-id', text: typeof id === 'number' ? formatEventId(id) : id }
}

export async function subscribe(
  hub: Hub,
  topic: Topic,
  sink: FakeSink,
  from: ResumeRequest,
  signals = false,
): Promise<Subscription> {
  return hub.subscribe(topic, sink, { from: await hub.resolve(topic, from), heartbeat: 'comment', signals })
}

/** What a sink got behind its first block, heartbeats and the signal of having caught up left out. */
export function streamText(sink: FakeSink): string {
  const text = Buffer.concat(sink.writes.slice(1)).toString('utf8')
  return text.replaceAll(': {"status": "tick"}\n\n', '').replaceAll(/event: sser\.caught-up\ndata: .*\n\n/g, '')
}
