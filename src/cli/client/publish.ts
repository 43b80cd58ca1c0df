/** `sser publish`: one event from the arguments or from standard input, or one per line of it. */

import { createInterface } from 'node:readline'
import type { NewEvent, PublishedEvent } from '../../client/index.ts'
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
  readonly retries?: string
  readonly idempotencyKey?: string
}

export function addPublishCommand(program: CliCommand, host: CliHost): void {
  withServerOptions(program.command('publish <topic> [message]'))
    .description(
      'publish events; print the id of each. Without a message argument, all of standard input is one message.',
    )
    .option('--type <TYPE>', "the event's type")
    .option('--id <ID>', "the publisher's own id of the event")
    .option('--parse', 'parse messages as JSON instead of sending them as text')
    .option('--lines', 'each line of standard input is a message')
    .option('--events', 'each line of standard input is an event in JSON: {"message":…,"type":…,"id":…,"dedupe":…}')
    .option(
      '--retries <N>',
      'retry up to this often if the server is busy or does not answer, without publishing anything twice',
    )
    .option('--idempotency-key <KEY>', 'for a single event: repeating the command with the same key publishes nothing')
    .note('Lines are published as they arrive, in order, as many at a time as are available.')
    .example(
      "sser publish $TOPIC 'Hello from a shell' --type greeting",
      'date | sser publish $TOPIC',
      'sser publish $TOPIC --parse \'{"temperature": 21.5}\'',
      "printf 'one\\ntwo\\n' | sser publish $TOPIC --lines --retries 5",
      "sser publish $TOPIC 'Backup is done' --idempotency-key backup-2026-11-27",
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
    const key = options.idempotencyKey === undefined ? {} : { idempotencyKey: options.idempotencyKey }
    await printIds([await client.publish(topic, event, { signal, ...repeatsOf(options), ...key })], options, host)
    return
  }
  // What was read is published, and its ids are printed, even after a signal.
  for await (const published of client.publishFrom(topic, eventsOf(host, options), repeatsOf(options))) {
    await printIds(published, options, host)
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
  if (options.retries !== undefined && !/^\d{1,3}$/.test(options.retries)) {
    throw new UsageError('--retries is a whole number from 0 to 999.')
  }
  if (!isLineByLine(options)) return
  if (message !== undefined) throw new UsageError('With --lines or --events the messages come from standard input.')
  if (options.id !== undefined) throw new UsageError('--id is for one event; put ids into the lines of --events.')
  if (options.idempotencyKey !== undefined) {
    throw new UsageError('--idempotency-key is for one event; put dedupe into the lines of --events.')
  }
}

function repeatsOf({ retries = '0' }: PublishOptions): { readonly retries: number } {
  return { retries: Number(retries) }
}

function namesOf({ type, id }: PublishOptions): Pick<NewEvent, 'type' | 'id'> {
  return { ...(type === undefined ? {} : { type }), ...(id === undefined ? {} : { id }) }
}

async function printIds(events: readonly PublishedEvent[], { json }: PublishOptions, host: CliHost): Promise<void> {
  await print(host, events.map(({ id }) => (json === true ? `${JSON.stringify({ id })}\n` : `${id}\n`)).join(''))
}

/** Read no faster than they are published. A signal ends them: everything read by then is published. */
async function* eventsOf(host: CliHost, options: PublishOptions): AsyncGenerator<NewEvent> {
  const lines = createInterface({ input: host.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  const signal = host.stopSignal()
  const stop = () => lines.close()
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  try {
    let number = 0
    for await (const line of lines) {
      number += 1
      yield eventOf(line, number, options)
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
