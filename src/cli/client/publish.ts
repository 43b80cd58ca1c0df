/** `sser publish`: one event from the arguments or from standard input, or one for each line of it. */

import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import type { NewEvent, PublishedEvent, SserClient } from '../../client/index.ts'
import { type ClientHost, clientOf, print, type ServerOptions, UsageError, withServerOptions } from './host.ts'

interface PublishOptions extends ServerOptions {
  readonly type?: string
  readonly id?: string
  readonly lines?: boolean
  readonly events?: boolean
  readonly parse?: boolean
}

/** Lines that came while the request before was under way go out together, up to so many. */
const EVENTS_PER_REQUEST_MAX = 1_000
const BYTES_PER_REQUEST_MAX = 256 * 1024

export function addPublishCommand(program: Command, host: ClientHost): void {
  withServerOptions(program.command('publish <topic> [message]'))
    .description('publish events; prints the id of each. Without a message all of standard input is one.')
    .option('--type <TYPE>', "the event's type")
    .option('--id <ID>', "the publisher's own id of the event")
    .option('--parse', 'messages are JSON, and sent as such instead of as text')
    .option('--lines', 'each line of standard input is a message')
    .option('--events', 'each line of standard input is an event in JSON: {"message":…,"type":…,"id":…}')
    .addHelpText(
      'after',
      '\nExamples:\n  sser publish $TOPIC Hello\n  tail -f access.log | sser publish $TOPIC --lines',
    )
    .action((topic: string, message: string | undefined, options: PublishOptions) =>
      publish(topic, message, options, host),
    )
}

async function publish(
  topic: string,
  message: string | undefined,
  options: PublishOptions,
  host: ClientHost,
): Promise<void> {
  const client = clientOf(options, host)
  const isLineByLine = options.lines === true || options.events === true
  if (!isLineByLine) {
    const whole = message ?? (await text(host.stdin)).replace(/\r?\n$/, '')
    const event = { message: options.parse === true ? parsed(whole, 'The message') : whole, ...namesOf(options) }
    await printIds([await client.publish(topic, event, host)], options, host)
    return
  }
  if (message !== undefined) throw new UsageError('With --lines or --events the messages come from standard input.')
  if (options.id !== undefined) throw new UsageError('--id is for one event; put ids into the lines of --events.')
  for await (const events of inBatches(host, options)) {
    await printIds(await published(client, topic, events, host), options, host)
  }
}

function namesOf({ type, id }: PublishOptions): Pick<NewEvent, 'type' | 'id'> {
  return { ...(type === undefined ? {} : { type }), ...(id === undefined ? {} : { id }) }
}

async function published(
  client: SserClient,
  topic: string,
  events: readonly NewEvent[],
  host: ClientHost,
): Promise<readonly PublishedEvent[]> {
  const [first] = events
  // One alone goes the way that the original server knows, too.
  return events.length === 1 && first !== undefined
    ? [await client.publish(topic, first, host)]
    : await client.publishMany(topic, events, host)
}

async function printIds(events: readonly PublishedEvent[], { json }: PublishOptions, host: ClientHost): Promise<void> {
  await print(host, events.map(({ id }) => (json === true ? `${JSON.stringify({ id })}\n` : `${id}\n`)).join(''))
}

/** Whatever lines are there, but never waiting for more than one. Input is read no faster than it is published. */
async function* inBatches(host: ClientHost, options: PublishOptions): AsyncGenerator<readonly NewEvent[]> {
  const lines = createInterface({ input: host.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  const waiting: NewEvent[] = []
  let bytes = 0
  let number = 0
  let wake: (() => void) | undefined
  let isEnded = false
  let mistake: unknown
  lines.on('line', (line) => {
    number += 1
    try {
      waiting.push(eventOf(line, number, options))
    } catch (error) {
      // What came before it is published; what comes behind is not.
      mistake ??= error
      lines.close()
    }
    bytes += line.length
    if (waiting.length >= EVENTS_PER_REQUEST_MAX || bytes >= BYTES_PER_REQUEST_MAX) lines.pause()
    wake?.()
  })
  lines.on('close', () => {
    isEnded = true
    wake?.()
  })
  const stop = () => lines.close()
  host.signal.addEventListener('abort', stop, { once: true })
  try {
    for (;;) {
      if (waiting.length > 0) {
        const batch = waiting.splice(0, EVENTS_PER_REQUEST_MAX)
        bytes = 0
        yield batch
        if (!isEnded) lines.resume()
      } else if (isEnded) {
        if (mistake !== undefined) throw mistake
        return
      } else {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        wake = undefined
      }
    }
  } finally {
    host.signal.removeEventListener('abort', stop)
    lines.close()
  }
}

function eventOf(line: string, number: number, options: PublishOptions): NewEvent {
  const where = `Line ${number}`
  if (options.events !== true) {
    return { message: options.parse === true ? parsed(line, where) : line, ...namesOf(options) }
  }
  const event = parsed(line, where)
  if (typeof event !== 'object' || event === null || !('message' in event)) {
    throw new UsageError(`${where} is not an event, such as {"message":"Hello"}. The lines before it are published.`)
  }
  return { ...namesOf(options), ...(event as NewEvent) }
}

function parsed(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new UsageError(`${where} is not JSON: ${error.message}.`)
  }
}
