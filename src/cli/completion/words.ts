// The words that can appear on the command line, derived from the tree of commands for the completion scripts.
import type { Argument, Option } from 'commander'
import type { CliCommand } from '../cli-command.ts'

/** What an option or an argument takes: files, folders, one of these words, or something unpredictable. */
export type Takes = 'file' | 'folder' | 'text' | readonly string[]

export interface OptionWords {
  /** `--state`. */
  readonly long: string
  readonly description: string
  /** Undefined: it is a switch. */
  readonly takes: Takes | undefined
}

export interface CommandWords {
  /** `sser topic create`. */
  readonly path: string
  readonly subcommands: readonly { readonly name: string; readonly description: string }[]
  readonly options: readonly OptionWords[]
  /** For its first argument that can be completed; undefined where there is none. */
  readonly argument: Takes | undefined
}

/** The program and every command below it. */
export function wordsOf(command: CliCommand): CommandWords[] {
  const { path, subcommands } = command
  const help = command.createHelp()
  return [
    {
      path,
      subcommands: subcommands.map((each) => ({ name: each.name(), description: firstSentence(each.description()) })),
      options: help.visibleOptions(command).map(optionWords),
      argument: command.registeredArguments.map(takenBy).find((takes) => takes !== 'text'),
    },
    ...subcommands.flatMap(wordsOf),
  ]
}

function optionWords(option: Option): OptionWords {
  const { long, description, required, optional, argChoices, flags } = option
  const takes = argChoices ?? kindOf(/[<[](\w+)/.exec(flags)?.[1] ?? '')
  return {
    long: long ?? '',
    description: firstSentence(description),
    takes: required || optional ? takes : undefined,
  }
}

function takenBy(argument: Argument): Takes {
  return argument.argChoices ?? kindOf(argument.name())
}

function kindOf(name: string): Takes {
  if (/^file$/i.test(name)) return 'file'
  return /^(dir|folder)$/i.test(name) ? 'folder' : 'text'
}

/** Short enough for a list of candidates. */
function firstSentence(text: string): string {
  return text.split(/[;:.]\s/)[0] ?? ''
}
