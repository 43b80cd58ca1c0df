/** `sser publish`: one event from the arguments or from standard input, or one for each line of it. */

import { createInterface } from 'node:readline'
import type { NewEvent, PublishedEvent, SserClient } from '../../client/index.ts'
import type { CliCommand } from '../cli-command.ts'
import { type CliHost, print, UsageError } from '../host.ts'
import { clientOf, type ServerOptions, withServerOptions } from './server-options.ts'
import { textOfStdin } from './stdin.ts'
import { STDIN } from './token-source.ts'

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

export function addPublishCommand(program: CliCommand, host: CliHost): void {
  withServerOptions(program.command('publish <topic> [message]'))
    .description('publish events; prints the id of each. Without a message all of standard input is one.')
    .option('--type <TYPE>', "the event's type")
    .option('--id <ID>', "the publisher's own id of the event")
    .option('--parse', 'messages are JSON, and sent as such instead of as text')
    .option('--lines', 'each line of standard input is a message')
    .option('--events', 'each line of standard input is an event in JSON: {"message":…,"type":…,"id":…}')
    .note('Lines are published while they come, in their order, as many at a time as there are.')
    .example(
      "sser publish $TOPIC 'Hello from a shell' --type greeting",
      'date | sser publish $TOPIC',
      'sser publish $TOPIC --parse \'{"temperature": 21.5}\'',
      "printf 'one\\ntwo\\n' | sser publish $TOPIC --lines",
      'echo \'{"message":[1,2],"type":"pair","id":"order-7"}\' | sser publish $TOPIC --events --json',
    )
    .action((topic: string, message: string | undefined, options: PublishOptions) =>
      publish(topic, message, options, host),
    )
}

async function publish(
  topic: string,
  message: string | undefined,
  options: PublishOptions,
  host: CliHost,
): Promise<void> {
  checkUse(message, options)
  const client = await clientOf(options, host)
  const signal = host.stopSignal()
  if (!isLineByLine(options)) {
    const whole = message ?? (await textOfStdin(host)).replace(/\r?\n$/, '')
    const event = { message: options.parse === true ? parsed(whole, 'The message') : whole, ...namesOf(options) }
    await printIds([await client.publish(topic, event, { signal })], options, host)
    return
  }
  // What was read is published, and its ids are printed, also when a signal came meanwhile.
  for await (const events of inBatches(host, options)) {
    await printIds(await published(client, topic, events), options, host)
  }
  signal.throwIfAborted()
}

function isLineByLine({ lines, events }: PublishOptions): boolean {
  return lines === true || events === true
}

function checkUse(message: string | undefined, options: PublishOptions): void {
  if (options.token === STDIN && message === undefined) {
    throw new UsageError('Standard input brings the token: give the message as an argument, or the token by a file.')
  }
  if (!isLineByLine(options)) return
  if (message !== undefined) throw new UsageError('With --lines or --events the messages come from standard input.')
  if (options.id !== undefined) throw new UsageError('--id is for one event; put ids into the lines of --events.')
}

function namesOf({ type, id }: PublishOptions): Pick<NewEvent, 'type' | 'id'> {
  return { ...(type === undefined ? {} : { type }), ...(id === undefined ? {} : { id }) }
}

async function published(
  client: SserClient,
  topic: string,
  events: readonly NewEvent[],
): Promise<readonly PublishedEvent[]> {
  const [first] = events
  // One alone goes the way that the original server knows, too.
  return events.length === 1 && first !== undefined
    ? [await client.publish(topic, first)]
    : await client.publishMany(topic, events)
}

async function printIds(events: readonly PublishedEvent[], { json }: PublishOptions, host: CliHost): Promise<void> {
  await print(host, events.map(({ id }) => (json === true ? `${JSON.stringify({ id })}\n` : `${id}\n`)).join(''))
}

/** Whatever lines are there, but never waiting for more than one. Input is read no faster than it is published. */
async function* inBatches(host: CliHost, options: PublishOptions): AsyncGenerator<readonly NewEvent[]> {
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
  const signal = host.stopSignal()
  const stop = () => lines.close()
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
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
    signal.removeEventListener('abort', stop)
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
