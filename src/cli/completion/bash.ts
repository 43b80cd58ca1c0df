// Completion for bash. Works with bash 3.2, the version in macOS, and needs no further package.
import type { CommandWords, Takes } from './words.ts'

export function bashCompletion(commands: readonly CommandWords[]): string {
  const paths = commands.slice(1).map(({ path }) => quoted(path))
  const valued = commands.flatMap(({ path, options }) =>
    options.flatMap(({ long, takes }) => (takes === undefined ? [] : [{ place: `${path} ${long}`, takes }])),
  )
  const places = (kind: Takes) => valued.filter(({ takes }) => takes === kind).map(({ place }) => quoted(place))
  const chosen = valued.flatMap(({ place, takes }) =>
    typeof takes === 'string' ? [] : [`    ${quoted(place)}) words=${quoted(takes.join(' '))} ;;\n`],
  )
  return `# Completion of sser for bash. Written by: sser completion bash
_sser() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} at=sser words='' options='' takes='' i
  # --option=value comes as three words.
  if [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  if [[ $word == = ]]; then word=; previous=\${COMP_WORDS[COMP_CWORD - 1]}; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
      ${paths.join(' | ')}) at+=" \${COMP_WORDS[i]}" ;;
    esac
  done
  case "$at $previous" in
    ${places('file').join(' | ')}) takes=file ;;
    ${places('folder').join(' | ')}) takes=folder ;;
    ${places('text').join(' | ')}) return ;;
${chosen.join('')}  esac
  if [[ -z $takes && -z $words ]]; then
    case $at in
${commands.map(commandCase).join('')}    esac
    # What begins with a dash is an option; where nothing else can stand, options are offered at once.
    if [[ $word == -* || -z $words$takes ]]; then words=$options takes=; fi
  fi
  local IFS=$'\\n'
  case $takes in
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$word")) ;;
    folder) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$word")) ;;
    *) COMPREPLY=($(IFS=' '; compgen -W "$words" -- "$word")) ;;
  esac
}
complete -F _sser sser
`
}

function commandCase({ path, subcommands, options, argument }: CommandWords): string {
  const words = [...subcommands.map(({ name }) => name), ...(typeof argument === 'object' ? argument : [])]
  const takes = typeof argument === 'string' ? ` takes=${argument}` : ''
  const longs = options.map(({ long }) => long)
  return `      ${quoted(path)}) words=${quoted(words.join(' '))} options=${quoted(longs.join(' '))}${takes} ;;\n`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
