// Completion for fish.
import type { CommandWords, OptionWords, Takes } from './words.ts'

export function fishCompletion(commands: readonly CommandWords[]): string {
  const paths = commands.slice(1).map(({ path }) => quoted(path))
  return `# Completion of sser for fish. Written by: sser completion fish
function __sser_at
    set -l at sser
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
            case ${paths.join(' ')}
                set at "$at $word"
        end
    end
    test "$at" = "$argv[1]"
end
complete -c sser -f
${commands.map(commandLines).join('')}`
}

function commandLines({ path, subcommands, options, argument }: CommandWords): string {
  const condition = `complete -c sser -n ${quoted(`__sser_at '${path}'`)}`
  return [
    ...subcommands.map(({ name, description }) => `${condition} -a ${name} -d ${quoted(description)}\n`),
    ...options.map((option) => `${condition} ${optionWords(option)} -d ${quoted(option.description)}\n`),
    ...(argument === undefined ? [] : [`${condition} ${argumentWords(argument)}\n`]),
  ].join('')
}

function optionWords({ long, takes }: OptionWords): string {
  const name = `-l ${long.replace(/^--/, '')}`
  if (takes === undefined) return name
  if (takes === 'text') return `${name} -x`
  return takes === 'file' ? `${name} -r -F` : `${name} -x ${argumentWords(takes)}`
}

function argumentWords(takes: Takes): string {
  if (takes === 'file') return '-F'
  return takes === 'folder' ? "-a '(__fish_complete_directories)'" : `-a ${quoted([...takes].join(' '))}`
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
