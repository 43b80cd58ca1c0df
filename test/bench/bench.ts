/** What the parts of the benchmark share: what run.ts lends them, and the load that most of them send. */
import { API_TOKEN, type ServerOptions, type ServerProcess } from '../support/server-process.ts'
import type { LoadProcess } from './load-process.ts'

/** For one part. */
export interface Bench {
  /** A folder, for what is to be kept until the end. */
  readonly work: string
  readonly durationMs: number
  /** Whether the answers to publishes differ in their length: not with this server, but with a peer. */
  readonly answersVary: boolean
  /** A number of events, subscribers or bytes, smaller or larger as was asked for; at least 1. */
  scaled(count: number): number
  note(what: string, value: number, unit: string, target?: number, better?: 'more' | 'less'): void
  withServer(
    name: string,
    options: ServerOptions,
    measure: (server: ServerProcess, load: LoadProcess) => Promise<void>,
  ): Promise<void>
}

export const MIB = 1024 * 1024
export const MESSAGE_BYTES = 120
/** Of one event in the log, about; for the number of events that make a log of some size. */
export const LOGGED_BYTES = MESSAGE_BYTES + 48
export const WARM_UP_MS = 1_000

export function loadTo({ durationMs, answersVary }: Bench, port: number, topicIds: readonly string[]) {
  const size = { messageBytes: MESSAGE_BYTES, answersVary }
  return { port, token: API_TOKEN, topicIds, ...size, durationMs, warmUpMs: WARM_UP_MS }
}

/** A server that nobody has used yet runs code that is not compiled yet. */
export async function warmUp(
  bench: Bench,
  port: number,
  topicIds: readonly string[],
  load: LoadProcess,
): Promise<void> {
  await load.call('publishInLoop', { ...loadTo(bench, port, topicIds), connections: 64, durationMs: WARM_UP_MS })
}
