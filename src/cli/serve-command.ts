// `sser serve` in the tree of commands.
import type { CliCommand, ExitCodes } from './cli-command.ts'
import type { CliHost } from './host.ts'

const EXIT_CODES: ExitCodes = [
  [0, 'stopped by a signal, in an orderly way'],
  [1, 'could not start, or could not close its log; why is told'],
  [64, 'wrong use'],
  [78, 'the configuration is wrong; every mistake is told'],
  [130, 'ended at once, by a second signal'],
]

export function addServeCommand(program: CliCommand, host: CliHost): void {
  program
    .command('serve')
    .description('serve until SIGTERM or SIGINT; a second signal ends it at once')
    .note(
      'The configuration is read from ./_config, or the folder that SSER_CONFIG_DIR names; without one the\n' +
        'defaults hold. Data lies in ./_storage, or the folder that SSER_STORAGE_DIR names. PORT says where it\n' +
        'listens. docs/configuration.md tells every setting.',
    )
    .example('SSER_STORAGE_DIR=data sser serve')
    .exits(EXIT_CODES)
    .action(async () => {
      const { serve } = await import('./serve.ts')
      host.exitCode = await serve()
    })
}
