// `sser config …` in the tree of commands: the configuration that a server started here would have.
import { Option } from 'commander'
import type { CliCommand, ExitCodes } from '../cli-command.ts'
import { type CliHost, exitConfig, exitUsage } from '../host.ts'

export interface ConfigOptions {
  readonly config?: string
  readonly env?: string
  readonly json?: boolean
}

const EXIT_CODES: ExitCodes = [
  [0, 'the configuration is valid'],
  [exitUsage, 'wrong usage'],
  [exitConfig, 'the configuration is wrong; every mistake is printed'],
]

/** The same as in the configuration; a test compares them. */
const ENVIRONMENTS = ['development', 'staging', 'production']

/** For every command that loads a configuration like a starting server. */
export function withConfigOptions(command: CliCommand): CliCommand {
  return command
    .option('--config <DIR>', 'the configuration folder; else SSER_CONFIG_DIR, else ./_config')
    .addOption(new Option('--env <NAME>', 'overrides APP_ENV; development by default').choices(ENVIRONMENTS))
    .option('--json', 'print JSON')
}

export function addConfigCommand(program: CliCommand, host: CliHost): void {
  const config = program
    .command('config')
    .description('check and show the configuration that a server would use')
    .exits(EXIT_CODES)
  const subcommand = (name: string, description: string) =>
    withConfigOptions(config.command(name).description(description)).exits(EXIT_CODES)

  subcommand('check', 'read the configuration as a start would, and print every mistake with its key, file and line')
    .note('Nothing is started, and nothing is written. The notices of a start are printed as well.')
    .example('sser config check', 'sser config check --config _config --json')
    .action(async (options: ConfigOptions) => {
      const { checkConfig } = await import('./check.ts')
      host.exitCode = await checkConfig(options, host)
    })

  subcommand('show', 'print every setting with its value and where that comes from')
    .note(
      'Secrets are never printed: for a token, only whether it is given, and where. With --json, each setting is a line.',
    )
    .example('sser config show', 'sser config show --json | grep \'"server.addr"\'')
    .action(async (options: ConfigOptions) => {
      const { showConfig } = await import('./show.ts')
      host.exitCode = await showConfig(options, host)
    })
}
