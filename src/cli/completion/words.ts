// What can stand where on the command line, for whoever writes a completion: made from the tree of commands.
import type { Argument, Option } from 'commander'
import type { CliCommand } from '../cli-command.ts'

/** What an option or an argument takes: files, folders, one of these words, or what nobody can guess. */
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
  /** Of its first argument that can be guessed; undefined where there is none. */
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

/** What a list beside the words has room for. */
function firstSentence(text: string): string {
  return text.split(/[;:.]\s/)[0] ?? ''
}
