// `sser log …` in the tree of commands. Each command is in a file of its own, loaded when it is called.
import type { CliCommand, ExitCodes } from '../cli-command.ts'
import type { CliHost } from '../host.ts'

export type LogCommandName = 'info' | 'verify' | 'dump' | 'repair' | 'compact' | 'backup' | 'restore'

/** As commander passes them. */
export interface LogOptions {
  readonly directory?: string
  readonly json?: boolean
  readonly from?: string
  readonly to?: string
  readonly topic?: string
  /** False for --no-payloads. */
  readonly payloads?: boolean
  readonly verify?: boolean
  readonly backup?: string
  readonly yes?: boolean
}

const EXIT_CODES: ExitCodes = [
  [0, 'the log is whole, or the command succeeded'],
  [1, 'damage was found'],
  [2, 'something would prevent a start'],
  [64, 'wrong usage'],
  [66, 'there is no log, or no backup'],
  [73, 'the folder to write into holds something else'],
  [74, 'the disk failed'],
  [75, 'a process is using the folder, or the server is busy'],
  [77, 'not allowed'],
  [78, 'the configuration is wrong'],
]

export function addLogCommand(program: CliCommand, host: CliHost): void {
  const log = program
    .command('log')
    .description('inspect, back up and repair a log')
    .note(
      'info, verify, compact and backup work on the log of a stopped or a running server; dump, restore and repair\n' +
        'only on that of a stopped one. docs/operating.md says what to do in each case.',
    )
    .exits(EXIT_CODES)
  const subcommand = (name: LogCommandName, folder: string, description: string) =>
    log
      .command(`${name}${folder}`)
      .description(description)
      .option('--directory <DIR>', 'the log folder, or the data folder that contains it; else the configured one')
      .option('--json', name === 'dump' ? 'print JSON, as always' : 'print JSON')
      .exits(EXIT_CODES)
      .action(async (...given: readonly unknown[]) => {
        // Arguments, then the options, then the command itself.
        const [options] = given.slice(-2) as [LogOptions]
        const [argument] = given.slice(0, -2) as [string?]
        const { runLogCommand } = await import('./run.ts')
        host.exitCode = await runLogCommand(name, argument, options, host)
      })

  subcommand('info', '', 'show what the log consists of, and what its server, if one is running, is doing').example(
    'sser log info',
    'sser log info --directory _storage/log',
  )
  subcommand('verify', '', 'read every byte; report all damage, and the topics and events it affects').example(
    'sser log verify --json',
  )
  subcommand('dump', '', 'print every record, one JSON object per line')
    .option(
      '--from <BOUND>',
      "the first record to print: an event's id, or a time such as 2026-01-31 or 2026-01-31T08:00:00Z",
    )
    .option('--to <BOUND>', 'the last record to print')
    .option('--topic <ID>', 'only the events of this topic')
    .option('--no-payloads', 'omit the messages, and print their sizes instead')
    .example(
      'sser log dump --directory _storage/log --from 2026-01-01T00:00:00Z --no-payloads',
      'sser log dump --topic $TOPIC | tail -n 1',
    )
  subcommand('compact', '', 'rewrite the log now without dead records, and print how much that has freed').example(
    'sser log compact',
  )
  subcommand('backup', ' <folder>', 'copy the log into a folder; a repeat into the same folder copies only what is new')
    .option('--verify', 'read every byte of the copy once it is complete')
    .example('sser log backup _backup --verify')
  subcommand('restore', ' <folder>', 'create a log from the backup in that folder').example(
    'sser log restore _backup --directory _restored',
  )
  subcommand(
    'repair',
    '',
    'move away damaged indexes and whatever prevents a start; replace damaged segments with whole ones from a backup',
  )
    .option('--backup <DIR>', 'a backup of this log to take whole segments from')
    .option('--yes', 'do not ask for confirmation')
    .example('sser log repair --backup _backup')
}
