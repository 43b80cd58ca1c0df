/**
 * The program of a load process: publishers and subscribers over bare sockets. On a small machine it shares the cores
 * with the server that it measures, so it does as little as can be: answers are counted by their length, events by a
 * byte that stands in each of them exactly once, and all sockets share one receive buffer.
 */
import { publishAtRate, publishInLoop } from './publishers.ts'
import { Subscribers } from './subscribers.ts'

const subscribers = new Subscribers()

const commands = {
  publishInLoop,
  publishAtRate,
  subscribe: subscribers.subscribe,
  eventsReceived: subscribers.eventsReceived,
  untilEvents: subscribers.untilEvents,
  recordLatency: subscribers.recordLatency,
  latency: subscribers.latency,
  unsubscribe: subscribers.unsubscribe,
}
export type LoadCommands = typeof commands

interface Call {
  readonly call: number
  readonly command: keyof LoadCommands
  readonly options: never
}

process.on('message', ({ call, command, options }: Call) => {
  const run: (options: never) => Promise<unknown> = commands[command]
  run(options).then(
    (result) => process.send?.({ call, result }),
    (error: unknown) =>
      process.send?.({ call, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  )
})
process.once('disconnect', () => process.exit(0))
