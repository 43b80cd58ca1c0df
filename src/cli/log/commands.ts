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
  [0, 'whole, or done'],
  [1, 'damage was found'],
  [2, 'something is in the way of a start'],
  [64, 'wrong use'],
  [66, 'there is no log, or no backup'],
  [73, 'the folder to write into holds something else'],
  [74, 'the disk failed'],
  [75, 'a process uses the folder, or the server is busy'],
  [77, 'not allowed'],
  [78, 'the configuration is wrong'],
]

export function addLogCommand(program: CliCommand, host: CliHost): void {
  const log = program
    .command('log')
    .description('inspect, back up and repair a log')
    .note(
      'info, verify, compact and backup work on the log of a stopped server, or of one that runs; dump, restore\n' +
        'and repair on that of a stopped one. docs/operating.md says what to do in each case.',
    )
    .exits(EXIT_CODES)
  const subcommand = (name: LogCommandName, folder: string, description: string) =>
    log
      .command(`${name}${folder}`)
      .description(description)
      .option('--directory <DIR>', 'the folder of the log, or the data folder above it; else the configured one')
      .option('--json', name === 'dump' ? 'as it is always printed' : 'print JSON, for a program to read')
      .exits(EXIT_CODES)
      .action(async (...given: readonly unknown[]) => {
        // Arguments, then the options, then the command itself.
        const [options] = given.slice(-2) as [LogOptions]
        const [argument] = given.slice(0, -2) as [string?]
        const { runLogCommand } = await import('./run.ts')
        host.exitCode = await runLogCommand(name, argument, options, host)
      })

  subcommand('info', '', 'show what it consists of, and what its server, if one runs, is doing').example(
    'sser log info',
    'sser log info --directory _storage/log',
  )
  subcommand('verify', '', 'read every byte; name all damage, and whose events it concerns').example(
    'sser log verify --json',
  )
  subcommand('dump', '', 'print every record, one JSON object a line')
    .option('--from <BOUND>', "the first wanted: an event's id, or a time such as 2026-01-31 or 2026-01-31T08:00:00Z")
    .option('--to <BOUND>', 'the last wanted')
    .option('--topic <ID>', 'the events of one topic only')
    .option('--no-payloads', 'leave the messages out, and say how many bytes they have')
    .example(
      'sser log dump --directory _storage/log --from 2026-01-01T00:00:00Z --no-payloads',
      'sser log dump --topic $TOPIC | tail -n 1',
    )
  subcommand('compact', '', 'rewrite it now without what is dead, and say how much that has freed').example(
    'sser log compact',
  )
  subcommand('backup', ' <folder>', 'copy it into a folder; into the same one again, only what is new')
    .option('--verify', 'read every byte of the copy when it is made')
    .example('sser log backup _backup --verify')
  subcommand('restore', ' <folder>', 'make a log of the backup in that folder').example(
    'sser log restore _backup --directory _restored',
  )
  subcommand(
    'repair',
    '',
    'move away what keeps a server from starting, and damaged indexes; put whole segments of a backup in the place of damaged ones',
  )
    .option('--backup <DIR>', 'a backup of this log, to take whole segments from')
    .option('--yes', 'do not ask')
    .example('sser log repair --backup _backup')
}
