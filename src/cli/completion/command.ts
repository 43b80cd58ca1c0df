// `sser completion SHELL`: prints a script that teaches a shell the commands and options of this program. The script is
// self-contained: pressing a key does not start this program.
import { Argument } from 'commander'
import type { CliCommand } from '../cli-command.ts'
import { type CliHost, exitUsage, print } from '../host.ts'
import { bashCompletion } from './bash.ts'
import { fishCompletion } from './fish.ts'
import { type CommandWords, wordsOf } from './words.ts'
import { zshCompletion } from './zsh.ts'

const SHELLS: Readonly<Record<string, (commands: readonly CommandWords[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
}

export function addCompletionCommand(program: CliCommand, host: CliHost): void {
  program
    .command('completion')
    .description('print a script that lets a shell complete the commands and options of sser')
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(SHELLS)))
    .note(
      'For bash, put the first example into ~/.bashrc; for zsh, use the second, with a folder in fpath; for fish, the third.',
    )
    .example(
      'eval "$(sser completion bash)"',
      'mkdir -p ~/.zsh && sser completion zsh > ~/.zsh/_sser',
      'mkdir -p ~/.config/fish/completions && sser completion fish > ~/.config/fish/completions/sser.fish',
    )
    .exits([
      [0, 'done'],
      [exitUsage, 'there is no script for that shell'],
    ])
    .action(async (shell: string) => {
      await print(host, SHELLS[shell]?.(wordsOf(program)) ?? '')
    })
}
