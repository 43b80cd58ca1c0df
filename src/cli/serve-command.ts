// `sser serve` in the tree of commands.
import type { CliCommand, ExitCodes } from './cli-command.ts'
import type { CliHost } from './host.ts'

const EXIT_CODES: ExitCodes = [
  [0, 'stopped cleanly by a signal'],
  [1, 'could not start, or could not close its log; the reason is printed'],
  [64, 'wrong usage'],
  [78, 'the configuration is wrong; every mistake is printed'],
  [130, 'ended at once by a second signal'],
]

export function addServeCommand(program: CliCommand, host: CliHost): void {
  program
    .command('serve')
    .description('run the server until SIGTERM or SIGINT; a second signal ends it at once')
    .note(
      'The configuration is read from ./_config, or the folder named by SSER_CONFIG_DIR; without one, the\n' +
        'defaults apply. Data is kept in ./_storage, or the folder named by SSER_STORAGE_DIR. PORT says where it\n' +
        'listens. docs/configuration.md lists every setting.',
    )
    .example('SSER_STORAGE_DIR=data sser serve')
    .exits(EXIT_CODES)
    .action(async () => {
      const { serve } = await import('./serve.ts')
      host.exitCode = await serve()
    })
}
