// Completion for zsh: as a file `_sser` in $fpath, or sourced.
import type { CommandWords, OptionWords, Takes } from './words.ts'

export function zshCompletion(commands: readonly CommandWords[]): string {
  const paths = commands.slice(1).map(({ path }) => quoted(path))
  const values = commands.flatMap(({ path, options }) =>
    options.flatMap(({ long, takes }) =>
      takes === undefined ? [] : [`    ${quoted(`${path} ${long}`)}) ${offer(takes)}; return ;;\n`],
    ),
  )
  return `#compdef sser
# Completion of sser for zsh. Written by: sser completion zsh
_sser() {
  local at=sser word=$words[CURRENT] previous=$words[CURRENT-1] each
  local -a names options
  for each in \${words[2,CURRENT-1]}; do
    case "$at $each" in
      (${paths.join('|')}) at+=" $each" ;;
    esac
  done
  case "$at $previous" in
${values.join('')}  esac
  case $at in
${commands.map(commandCase).join('')}  esac
  if [[ $word != -* && \${#names} -gt 0 ]]; then
    _describe 'command' names
  else
    _describe -o 'option' options
  fi
}
if [[ $funcstack[1] == _sser ]]; then _sser "$@"; else compdef _sser sser; fi
`
}

function commandCase({ path, subcommands, options, argument }: CommandWords): string {
  const names = subcommands.map(({ name, description }) => quoted(`${name}:${description}`))
  const taken = argument === undefined ? '' : ` if [[ $word != -* ]]; then ${offer(argument)}; return; fi;`
  return `    (${quoted(path)})${taken} names=(${names.join(' ')}) options=(${options.map(described).join(' ')}) ;;\n`
}

function described({ long, description }: OptionWords): string {
  return quoted(`${long}:${description}`)
}

function offer(takes: Takes): string {
  if (takes === 'file') return '_files'
  if (takes === 'folder') return '_files -/'
  return takes === 'text' ? '_message value' : `compadd -- ${takes.map(quoted).join(' ')}`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
