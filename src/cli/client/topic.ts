/** `sser topic`: create, list, change, empty and delete topics. */

import { Option } from 'commander'
import type { ListTopicsOptions, NewTopic, RetentionRequest, TopicDetails } from '../../client/index.ts'
import type { CliCommand } from '../cli-command.ts'
import { type CliHost, print, UsageError } from '../host.ts'
import { wholeNumber } from '../whole-number.ts'
import { clientOf, type ServerOptions, withServerOptions } from './server-options.ts'

interface TopicOptions extends ServerOptions {
  readonly name?: string
  readonly maxAge?: string
  readonly maxBytes?: string
  readonly maxEvents?: string
}

const NONE = 'none'

const ID_LENGTH = 11
/** The server's maximum. */
const TOPICS_PER_PAGE = 1_000

type Sort = NonNullable<ListTopicsOptions['sort']>
const SORTS: readonly Sort[] = ['id', 'name', 'events', 'bytes', 'subscribers', 'latest']

interface ListOptions extends ServerOptions {
  readonly search?: string
  readonly sort?: Sort
  readonly desc?: boolean
}

export function addTopicCommand(program: CliCommand, host: CliHost): void {
  const topic = program.command('topic').description('create, list, change, empty and delete topics')
  const subcommand = (nameAndArguments: string, description: string) =>
    withServerOptions(topic.command(nameAndArguments).description(description))
  const call = () => ({ signal: host.stopSignal() })

  withTopicOptions(subcommand('create', 'create a topic; print its id, and a token for its subscribers'))
    .option('--memory', 'keep its events in memory only, until the server stops, instead of on disk')
    .example('sser topic create --name orders --max-age 720h', "TOPIC=$(sser topic create | sed -n 's/^id *//p')")
    .action(async (options: TopicOptions & { readonly memory?: boolean }) => {
      const wanted = { persist: options.memory !== true, ...settingsOf(options) }
      const client = await clientOf(options, host)
      const { id, token } = await client.topics.create(wanted, call())
      await print(host, options.json === true ? line({ id, token }) : `id     ${id}\ntoken  ${token}\n`)
    })

  subcommand('list', 'list all topics, one per line: id, events, bytes, subscribers, name')
    .option('--search <TEXT>', 'only topics with this text in their name or id')
    .addOption(new Option('--sort <BY>', 'sort key; by default the id').choices(SORTS))
    .option('--desc', 'highest first')
    .example(
      'sser topic list',
      'sser topic list --search orders --sort bytes --desc',
      'sser topic list --json | head -n 3',
    )
    .action(async ({ search, sort, desc, ...options }: ListOptions) => {
      const client = await clientOf(options, host)
      const wanted = {
        limit: TOPICS_PER_PAGE,
        ...(search === undefined ? {} : { search }),
        ...(sort === undefined ? {} : { sort }),
        ...(desc === true ? { order: 'desc' as const } : {}),
      }
      const topics = client.topics.all({ ...wanted, ...call() })
      // For people only: programs that read the lines count on each being a topic.
      let isHeadWanted = host.stdout.isTTY === true && options.json !== true
      for await (const details of topics) {
        if (isHeadWanted) await print(host, row('ID', 'EVENTS', 'BYTES', 'STREAMS', 'NAME'))
        isHeadWanted = false
        await print(host, options.json === true ? line(details) : rowOf(details))
      }
    })

  subcommand('show <topic>', 'show the settings and contents of a topic')
    .example('sser topic show $TOPIC')
    .action(async (id: string, options: ServerOptions) => {
      const client = await clientOf(options, host)
      const details = await client.topics.get(id, call())
      await print(host, options.json === true ? line(details) : page(details))
    })

  withTopicOptions(
    subcommand('update <topic>', 'change the name or limits of a topic; whatever is not given stays as it is'),
  )
    .example(`sser topic update $TOPIC --max-events 1000 --max-age ${NONE}`)
    .action(async (id: string, options: TopicOptions) => {
      const changes = settingsOf(options)
      if (Object.keys(changes).length === 0) {
        throw new UsageError('Name something to change, such as --max-events 1000.')
      }
      const client = await clientOf(options, host)
      const details = await client.topics.update(id, changes, call())
      await print(host, options.json === true ? line(details) : page(details))
    })

  subcommand('empty <topic>', 'drop the events of a topic; subscribers that have not read them yet get an sser.gap')
    .option('--through <ID>', 'only the events up to and including this id')
    .example('sser topic empty $TOPIC')
    .action(async (id: string, { through, ...options }: ServerOptions & { readonly through?: string }) => {
      const client = await clientOf(options, host)
      await client.topics.empty(id, { ...call(), ...(through === undefined ? {} : { through }) })
    })

  subcommand(
    'delete <topic>',
    'delete a topic with its events, and end its streams. It is no error if there is no such topic.',
  )
    .example('sser topic delete $TOPIC')
    .action(async (id: string, options: ServerOptions) => {
      const client = await clientOf(options, host)
      await client.topics.delete(id, call())
    })
}

function withTopicOptions(command: CliCommand): CliCommand {
  return command
    .option('--name <NAME>', 'a name for people to read')
    .option('--max-age <TIME>', `drop events older than this, such as 90m or 720h; ${NONE}: no limit`)
    .option('--max-bytes <N>', `drop the oldest events beyond this many bytes; ${NONE}: no limit`)
    .option('--max-events <N>', `drop the oldest beyond this many events; ${NONE}: no limit`)
}

function settingsOf({ name, maxAge, maxBytes, maxEvents }: TopicOptions): Pick<NewTopic, 'name' | 'retention'> {
  const retention: RetentionRequest = {
    ...(maxAge === undefined ? {} : { max_age: maxAge === NONE ? null : maxAge }),
    ...(maxBytes === undefined ? {} : { max_bytes: numberOf('--max-bytes', maxBytes) }),
    ...(maxEvents === undefined ? {} : { max_events: numberOf('--max-events', maxEvents) }),
  }
  return {
    ...(name === undefined ? {} : { name }),
    ...(Object.keys(retention).length === 0 ? {} : { retention }),
  }
}

function numberOf(option: string, text: string): number | null {
  return text === NONE ? null : wholeNumber(option, text)
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

function rowOf({ id, events, bytes, subscribers, name }: TopicDetails): string {
  return row(id, String(events), String(bytes), String(subscribers), name ?? '')
}

function row(id: string, events: string, bytes: string, subscribers: string, name: string): string {
  const figures = [events.padStart(12), bytes.padStart(14), subscribers.padStart(8)]
  return `${id.padEnd(ID_LENGTH)}${figures.join('')}  ${name}`.trimEnd().concat('\n')
}

function page(details: TopicDetails): string {
  const { retention, earliest, latest } = details
  const limits = [
    ...(retention.max_age === null ? [] : [`age ${retention.max_age}`]),
    ...(retention.max_bytes === null ? [] : [`${retention.max_bytes} bytes`]),
    ...(retention.max_events === null ? [] : [`${retention.max_events} events`]),
  ]
  const rows: readonly (readonly [string, string])[] = [
    ['id', details.id],
    ['name', details.name ?? ''],
    ['kept', details.persist ? 'on the disk' : 'in memory'],
    ['limits', limits.length === 0 ? 'none' : limits.join(', ')],
    ['created', details.created_at],
    ['events', `${details.events}, ${details.bytes} bytes`],
    ['earliest', earliest === null ? 'none' : `${earliest.id}  ${earliest.time}`],
    ['latest', latest === null ? 'none' : `${latest.id}  ${latest.time}`],
    ['subscribers', String(details.subscribers)],
  ]
  return rows.map(([name, value]) => `${`${name.padEnd(12)} ${value}`.trimEnd()}\n`).join('')
}
