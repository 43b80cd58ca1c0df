/** `sser subscribe`: a topic's events, one a line, until it is told to end; over restarts by a file that holds the place. */

import { readFile, rename, writeFile } from 'node:fs/promises'
import type { Command } from 'commander'
import {
  type ClientHost,
  clientOf,
  type ErrorOutput,
  print,
  type ServerOptions,
  UsageError,
  withServerOptions,
} from './host.ts'

interface SubscribeCommandOptions extends ServerOptions {
  readonly since?: string
  readonly lastEventId?: string
  readonly state?: string
  readonly count?: string
}

export function addSubscribeCommand(program: Command, host: ClientHost, stderr: ErrorOutput): void {
  withServerOptions(program.command('subscribe <topic>'))
    .description('print the events of a topic as they come; goes on after every interruption')
    .option(
      '--since <WHEN>',
      'begin with the earliest event that is kept (earliest), or at a time such as 2026-01-31T08:00:00Z',
    )
    .option('--last-event-id <ID>', 'begin behind this event')
    .option('--state <FILE>', 'keep the place in this file: the next call goes on where this one ended')
    .option('--count <N>', 'end after so many events')
    .addHelpText(
      'after',
      `
A message with line breaks is printed as it is; --json keeps each event on one line, with its id, type and cursor.
With --state an event may be printed twice where a call is killed, and is never left out.

Examples:
  sser subscribe $TOPIC --since earliest --count 1
  sser subscribe $TOPIC --state place --json | jq .data`,
    )
    .action((topic: string, options: SubscribeCommandOptions) => subscribe(topic, options, host, stderr))
}

async function subscribe(
  topic: string,
  options: SubscribeCommandOptions,
  host: ClientHost,
  stderr: ErrorOutput,
): Promise<void> {
  const { state, json } = options
  const countMax = options.count === undefined ? Number.POSITIVE_INFINITY : positive('--count', options.count)
  const lastEventId = (state === undefined ? undefined : await readPlace(state)) ?? options.lastEventId
  const since = options.since === undefined ? undefined : whenOf(options.since)
  const stream = clientOf(options, host).subscribe(topic, {
    signal: host.signal,
    ...(lastEventId === undefined ? {} : { lastEventId }),
    ...(since === undefined ? {} : { since }),
  })
  let count = 0
  try {
    for await (const item of stream) {
      if (json === true) await print(host, `${JSON.stringify(item)}\n`)
      else if (item.kind === 'event') await print(host, `${item.data}\n`)
      else stderr.write(`sser subscribe: events may be missing here: ${item.reason}\n`)
      if (state !== undefined) await writePlace(state, item.cursor)
      if (item.kind === 'event') count += 1
      if (count >= countMax) break
    }
  } catch (error) {
    // Asked to end: that is how this command ends.
    if (error !== host.signal.reason || !host.signal.aborted) throw error
  }
}

function whenOf(text: string): 'earliest' | Date {
  if (text === 'earliest') return text
  const time = new Date(text)
  if (!Number.isNaN(time.getTime())) return time
  throw new UsageError(`--since takes earliest, or a time such as 2026-01-31T08:00:00Z, not ${JSON.stringify(text)}.`)
}

function positive(option: string, text: string): number {
  if (/^[1-9]\d{0,15}$/.test(text)) return Number(text)
  throw new UsageError(`${option} takes a whole number from 1 on, not ${JSON.stringify(text)}.`)
}

/** Undefined where there is no file yet. */
async function readPlace(path: string): Promise<string | undefined> {
  try {
    const place = (await readFile(path, 'utf8')).trim()
    return place === '' ? undefined : place
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Replaced as a whole: a call that is killed leaves the old place or the new one. */
async function writePlace(path: string, cursor: string): Promise<void> {
  await writeFile(`${path}.tmp`, `${cursor}\n`)
  await rename(`${path}.tmp`, path)
}
