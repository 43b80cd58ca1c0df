/**
 * Generates docs/cli.md from the tree of commands: `npm run docs`. A test compares the file with the result, so that the page
 * cannot go stale. Runs no command.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Argument, Option } from 'commander'
import { CliCommand, type ExitCodes } from './cli-command.ts'
import { CLIENT_EXIT_CODES } from './client/failure.ts'

const INTRODUCTION = `# Command line

This page is generated from the commands themselves by \`npm run docs\`; change \`src/cli\`, not this file. A test runs every
example, with \`TOPIC\` and \`TOKEN_ID\` in the environment.

\`sser\` without a command starts the server. \`sser COMMAND --help\` shows the same text as this page.

**The server's address** comes from \`--url\`, or the environment variable \`SSER_URL\`; the default is the server on this machine.

**The token** comes from the first of these that is given: \`--token-file FILE\` or \`--token -\`, which reads a line from standard
input (on a terminal it prompts, without echo); \`SSER_TOKEN\`; \`SSER_TOKEN_FILE\`. The file holds nothing but the token, or is the
\`tokens.json\` that the server keeps in its data folder. \`--token TOKEN\` works as well, but everybody on the machine can read the
arguments of a command, and they tend to stay in the shell's history.

**In pipes**: standard output holds only what was asked for, one item per line; with \`--json\`, each line is JSON. Everything else
goes to standard error. When a reader such as \`head\` closes the pipe, the command ends without an error message. The first Ctrl-C
(SIGINT) or SIGTERM ends a command cleanly, the second at once.
`

/** The whole page. */
export function cliPage(program: CliCommand): string {
  const shared = commandsBelow(program).find(({ options }) => options.some(isShared))
  const server = `\n## The server\n\nOptions of every command that talks to a server:\n${tableOf(shared?.options.filter(isShared) ?? [])}`
  const codes = `\nThe exit codes of these commands, unless stated otherwise:\n${exitTable(CLIENT_EXIT_CODES)}`
  return INTRODUCTION + server + codes + program.subcommands.flatMap((command) => section(command, 2)).join('')
}

function commandsBelow(command: CliCommand): CliCommand[] {
  return [command, ...command.subcommands.flatMap(commandsBelow)]
}

function section(command: CliCommand, depth: number): string[] {
  const { path, subcommands, examples } = command
  const text = [
    `${'#'.repeat(depth)} ${path}\n`,
    ...opening(command),
    ...(subcommands.length > 0 ? [] : [usageOf(command)]),
    ...(examples.length === 0 ? [] : [`\`\`\`sh\n${examples.map((line) => `${line}\n`).join('')}\`\`\`\n`]),
    ...exitWords(command),
  ]
  return [`\n${text.join('\n')}`, ...subcommands.flatMap((each) => section(each, depth + 1))]
}

function opening(command: CliCommand): string[] {
  const description = command.description()
  const sentence = `${description[0]?.toUpperCase()}${description.slice(1)}${/[.!?]$/.test(description) ? '' : '.'}`
  return [sentence, ...command.notes].map((paragraph) => `${prose(paragraph)}\n`)
}

function usageOf(command: CliCommand): string {
  const own = command.options.filter((option) => !isShared(option))
  const words = command.registeredArguments.map((argument) => ` ${argumentText(argument)}`)
  const usage = `${command.path}${own.length === 0 ? '' : ' [options]'}${words.join('')}`
  return `\`\`\`\n${usage}\n\`\`\`\n${own.length === 0 ? '' : tableOf(own)}`
}

function argumentText(argument: Argument): string {
  return argument.required ? `<${argument.name()}>` : `[${argument.name()}]`
}

function tableOf(options: readonly Option[]): string {
  const rows = options.map(({ flags, description, argChoices }) => {
    const choices = argChoices === undefined ? '' : `: ${argChoices.map((choice) => `\`${choice}\``).join(', ')}`
    return `| \`${flags}\` | ${prose(description).replaceAll('|', '\\|')}${choices} |\n`
  })
  return `\n| option | what |\n| --- | --- |\n${rows.join('')}`
}

/** Omits what is already said elsewhere. */
function exitWords({ exitCodes, parent }: CliCommand): string[] {
  const isSaid = exitCodes === CLIENT_EXIT_CODES || (parent instanceof CliCommand && parent.exitCodes === exitCodes)
  return isSaid || exitCodes.length === 0 ? [] : [`Exit codes:\n${exitTable(exitCodes)}`]
}

function exitTable(codes: ExitCodes): string {
  return `\n| code | means |\n| --- | --- |\n${codes.map(([code, meaning]) => `| ${code} | ${prose(meaning)} |\n`).join('')}`
}

function isShared({ helpGroupHeading }: Option): boolean {
  return helpGroupHeading !== undefined
}

/** Marks up names and options, and escapes what markdown would interpret. */
function prose(text: string): string {
  return text
    .replaceAll('\n', ' ')
    .split(/((?<![\w-])--[a-z][a-z-]*|\b[A-Z]+(?:_[A-Z]+)+\b|(?:\.|~)\/[\w./-]+|\bdocs\/[a-z]+\.md\b)/)
    .map((part, index) => (index % 2 === 0 ? part.replace(/[<>*_]/g, (one) => `\\${one}`) : `\`${part}\``))
    .join('')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { programOf } = await import('./program.ts')
  const { stdin, stdout, stderr, env } = process
  const path = fileURLToPath(new URL('../../docs/cli.md', import.meta.url))
  const host = { cwd: '.', env, stdin, stdout, stderr, stopSignal: () => new AbortController().signal, exitCode: 0 }
  writeFileSync(path, cliPage(programOf(host)))
  console.log(`Wrote ${path}`)
}
