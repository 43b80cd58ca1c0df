/** `sser subscribe`: a topic's events, one per line, until it is told to stop; across restarts with a file that keeps the place. */

import { resolve } from 'node:path'
import type { CliCommand } from '../cli-command.ts'
import { type CliHost, print, UsageError } from '../host.ts'
import { wholeNumber } from '../whole-number.ts'
import { CLIENT_EXIT_CODES } from './failure.ts'
import { clientOf, type ServerOptions, withServerOptions } from './server-options.ts'
import { StateFile } from './state-file.ts'

interface SubscribeCommandOptions extends ServerOptions {
  readonly since?: string
  readonly lastEventId?: string
  readonly state?: string
  readonly count?: string
}

export function addSubscribeCommand(program: CliCommand, host: CliHost): void {
  withServerOptions(program.command('subscribe <topic...>'))
    .description(
      'print the events of a topic, or of several in one order, as they arrive; reconnect after every interruption',
    )
    .option(
      '--since <WHEN>',
      'start at the earliest stored event (earliest), or at a time such as 2026-01-31T08:00:00Z',
    )
    .option('--last-event-id <ID>', 'start after this event')
    .option('--state <FILE>', 'keep the position in this file; the next call resumes where this one ended')
    .option('--count <N>', 'end after this many events')
    .note(
      'A message with line breaks is printed as it is; --json prints each event on one line, with its id, type and cursor, and\n' +
        'with several topics also its topic. Possible gaps are reported on standard error, and with --json among the events.',
      'With --state, the position is written after each event is printed: if the command is killed, the next call may print\n' +
        'its last events again, but skips none. If it ends by itself or by a signal, nothing is printed again.',
    )
    .example(
      'sser subscribe $TOPIC --since earliest --count 1',
      'sser subscribe $TOPIC --since earliest --count 2 --state place --json',
      'sser subscribe $TOPIC --state place | while read -r message; do echo "got $message"; done',
    )
    .exits([
      [0, 'got the requested number of events, or the topic ended, or a signal came'],
      ...CLIENT_EXIT_CODES.filter(([code]) => code !== 0 && code < 128),
    ])
    .action((topics: readonly string[], options: SubscribeCommandOptions) => subscribe(topics, options, host))
}

async function subscribe(topics: readonly string[], options: SubscribeCommandOptions, host: CliHost): Promise<void> {
  const countMax = options.count === undefined ? Number.POSITIVE_INFINITY : wholeNumber('--count', options.count)
  const since = options.since === undefined ? undefined : whenOf(options.since)
  const client = await clientOf(options, host)
  const state = options.state === undefined ? undefined : new StateFile(resolve(host.cwd, options.state))
  const lastEventId = (await state?.read()) ?? options.lastEventId
  const signal = host.stopSignal()
  const [topic] = topics
  const stream = client.subscribe(topics.length === 1 && topic !== undefined ? topic : topics, {
    signal,
    ...(lastEventId === undefined ? {} : { lastEventId }),
    ...(since === undefined ? {} : { since }),
  })
  let count = 0
  try {
    for await (const item of stream) {
      if (options.json === true) await print(host, `${JSON.stringify(item)}\n`)
      else if (item.kind === 'event') await print(host, `${item.data}\n`)
      else host.stderr.write(`sser subscribe: events may be missing here: ${item.reason}\n`)
      state?.keep(item.cursor)
      if (item.kind === 'event') count += 1
      if (count >= countMax) break
    }
  } catch (error) {
    // A signal is the regular way to end this command.
    if (error !== signal.reason || !signal.aborted) throw error
  } finally {
    await state?.settled()
  }
}

function whenOf(text: string): 'earliest' | Date {
  if (text === 'earliest') return text
  const time = new Date(text)
  if (!Number.isNaN(time.getTime())) return time
  throw new UsageError(`--since takes earliest, or a time such as 2026-01-31T08:00:00Z, not ${JSON.stringify(text)}.`)
}
