// A command of the program: commander's command, plus the examples, notes and exit codes at the end of its help. The
// documentation, the completion and the tests also read them from here.
import { Command } from 'commander'

/** Possible exit codes and their meanings. */
export type ExitCodes = readonly (readonly [code: number, meaning: string])[]

export class CliCommand extends Command {
  readonly #notes: string[] = []
  readonly #examples: string[] = []
  #exitCodes: ExitCodes = []

  constructor(name?: string) {
    super(name)
    this.helpOption('-h, --help', 'show this help')
    this.addHelpText('after', () => this.#ending())
  }

  override createCommand(name?: string): CliCommand {
    return new CliCommand(name)
  }

  /** Paragraphs, printed verbatim. */
  get notes(): readonly string[] {
    return this.#notes
  }

  /** Shell commands. They can be run in this order, with TOPIC and the like in the environment. */
  get examples(): readonly string[] {
    return this.#examples
  }

  get exitCodes(): ExitCodes {
    return this.#exitCodes
  }

  note(...paragraphs: readonly string[]): this {
    this.#notes.push(...paragraphs)
    return this
  }

  example(...lines: readonly string[]): this {
    this.#examples.push(...lines)
    return this
  }

  exits(codes: ExitCodes): this {
    this.#exitCodes = codes
    return this
  }

  /** `sser topic create`. */
  get path(): string {
    return this.parent instanceof CliCommand ? `${this.parent.path} ${this.name()}` : this.name()
  }

  /** The commands below it, in the order of the help. */
  get subcommands(): readonly CliCommand[] {
    return this.commands.filter((command): command is CliCommand => command instanceof CliCommand)
  }

  #ending(): string {
    const title = this.#examples.length === 1 ? 'Example' : 'Examples'
    return [
      ...this.#notes.map((note) => `\n${note}\n`),
      ...(this.#examples.length === 0 ? [] : [`\n${title}:\n${this.#examples.map((line) => `  ${line}\n`).join('')}`]),
      ...(this.#exitCodes.length === 0 ? [] : [`\nExit codes:\n${this.#exitCodes.map(exitCodeLine).join('')}`]),
    ]
      .join('')
      .replace(/\n$/, '')
  }
}

function exitCodeLine([code, meaning]: ExitCodes[number]): string {
  return `  ${String(code).padStart(3)}  ${meaning}\n`
}
