// `sser bench` in the tree of commands.
import type { CliCommand } from '../cli-command.ts'
import { CLIENT_EXIT_CODES } from '../client/failure.ts'
import { clientOf, type ServerOptions, withServerOptions } from '../client/server-options.ts'
import { type CliHost, UsageError } from '../host.ts'
import { wholeNumber } from '../whole-number.ts'
import type { BenchPlan } from './measure.ts'

interface BenchOptions extends ServerOptions {
  readonly publishers: string
  readonly subscribers: string
  readonly seconds: string
  readonly bytes: string
  readonly batch: string
  readonly rate?: string
  readonly memory?: boolean
}

export function addBenchCommand(program: CliCommand, host: CliHost): void {
  withServerOptions(program.command('bench'))
    .description('benchmark a running server: publish for some seconds, and time the deliveries')
    .option('--publishers <N>', 'number of concurrent publishers, each waiting for its answers', '4')
    .option('--subscribers <N>', 'number of streams', '10')
    .option('--seconds <N>', 'how long to publish', '5')
    .option('--bytes <N>', 'size of a message', '120')
    .option('--batch <N>', 'events per request', '1')
    .option('--rate <N>', 'events per second in total, at fixed times; without it, as fast as they are answered')
    .option('--memory', 'use a topic in memory instead of one on disk')
    .note(
      'It creates a topic of its own, and deletes it. The figures cover the server, the network, and this program, which\n' +
        "takes a core: on the server's own machine, the server does without that core.",
      'With --rate, delays are measured from the time at which an event should have been sent, so that a stalling server\n' +
        'cannot hide them.',
    )
    .example('sser bench --seconds 1', 'sser bench --subscribers 100 --rate 50 --seconds 1 --json')
    .exits([
      [0, 'every event was acknowledged, and reached every subscriber'],
      [1, 'some events were not acknowledged or delivered, or the server refused everything'],
      ...CLIENT_EXIT_CODES.filter(([code]) => code > 1),
    ])
    .action(async (options: BenchOptions) => {
      const plan = planOf(options)
      const client = await clientOf(options, host)
      const { bench } = await import('./bench.ts')
      host.exitCode = await bench(client, plan, options.json === true, host)
    })
}

const SILENCE_MS_MAX = 5_000
/** Room for the send time. */
const MESSAGE_BYTES_MIN = 20

function planOf(options: BenchOptions): BenchPlan {
  const plan = {
    publishers: wholeNumber('--publishers', options.publishers),
    subscribers: wholeNumber('--subscribers', options.subscribers, 0),
    seconds: wholeNumber('--seconds', options.seconds),
    messageBytes: wholeNumber('--bytes', options.bytes, MESSAGE_BYTES_MIN),
    batch: wholeNumber('--batch', options.batch),
    perSecond: options.rate === undefined ? undefined : wholeNumber('--rate', options.rate),
    isPersistent: options.memory !== true,
    silenceMsMax: SILENCE_MS_MAX,
  }
  if (plan.perSecond !== undefined && plan.perSecond < plan.batch) {
    throw new UsageError('--rate has to be at least --batch: less than a request a second measures nothing.')
  }
  return plan
}
