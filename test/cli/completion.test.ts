/** What shells make of the completions: real ones, where they are installed; bash everywhere. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after, test } from 'node:test'
import type { CliCommand } from '../../src/cli/cli-command.ts'
import { programOf, runProgram } from '../../src/cli/program.ts'
import { APP_ENVS } from '../../src/config/schema.ts'
import { missingProgram } from '../support/programs.ts'
import { silentHost } from './silent-host.ts'

const home = mkdtempSync(join(tmpdir(), 'sser-completion-'))
after(() => rmSync(home, { recursive: true }))
/** Where files are offered from. */
const folder = join(home, 'work')
mkdirSync(folder)
writeFileSync(join(folder, 'place one'), '')
mkdirSync(join(folder, 'plain'))

/** A line as it stands when the key is pressed, and what is offered then. */
const CASES: readonly (readonly [line: string, offered: readonly string[]])[] = [
  ['sser t', ['topic', 'token', 'tls']],
  ['sser topic ', ['create', 'list', 'show', 'update', 'empty', 'delete']],
  ['sser topic d', ['delete']],
  ['sser topic create --max-', ['--max-age', '--max-bytes', '--max-events']],
  ['sser topic create --url http://x --mem', ['--memory']],
  ['sser subscribe 000AGIug3vu --st', ['--state']],
  ['sser subscribe --state p', ['place one', 'plain']],
  ['sser log backup p', ['plain']],
  ['sser log repair --backup pla', ['plain']],
  ['sser completion ', ['bash', 'zsh', 'fish']],
  ['sser config check --env ', APP_ENVS],
  ['sser topic create --name t', []],
  ['sser nonsense', []],
]

async function completionOf(shell: string): Promise<string> {
  const stdout = new PassThrough().setEncoding('utf8')
  let script = ''
  stdout.on('data', (text: string) => {
    script += text
  })
  assert.equal(await runProgram(['completion', shell], silentHost({ stdout })), 0)
  const path = join(home, `completion.${shell}`)
  writeFileSync(path, script)
  return path
}

/** Without what readline, or fish, puts behind a word. */
function words(text: string): string[] {
  return text
    .split('\n')
    .map((line) => (line.split('\t')[0] ?? '').replace(/\/$/, ''))
    .filter((line) => line !== '')
    .toSorted()
}

function pressedInBash(script: string, given: readonly string[]): string[] {
  const press = `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sser; printf '%s\\n' "\${COMPREPLY[@]}"`
  const args = ['--norc', '-c', press, 'bash', script, ...given]
  return words(execFileSync('bash', args, { cwd: folder, encoding: 'utf8' }))
}

test('bash is offered what can stand there', async () => {
  const script = await completionOf('bash')
  for (const [line, offered] of CASES) {
    assert.deepEqual(pressedInBash(script, line.split(' ')), offered.toSorted(), line)
  }
})

test('bash is offered values behind an equals sign, which readline makes a word of its own', async () => {
  const script = await completionOf('bash')
  for (const end of [['='], ['=', 'sta']]) {
    const offered = pressedInBash(script, ['sser', 'config', 'show', '--env', ...end])
    assert.ok(offered.includes('staging'), offered.join())
  }
})

test('every command and every option is in each of the scripts', async () => {
  function commandsBelow(command: CliCommand): CliCommand[] {
    return [command, ...command.subcommands.flatMap(commandsBelow)]
  }
  for (const shell of ['bash', 'zsh', 'fish']) {
    const script = readFileSync(await completionOf(shell), 'utf8')
    for (const { path, options } of commandsBelow(programOf(silentHost()))) {
      assert.ok(script.includes(`'${path}'`) || script.includes(`\\'${path}\\'`), `${shell}: ${path}`)
      for (const { long } of options) {
        const name = shell === 'fish' ? `-l ${long?.slice(2)}` : (long ?? '')
        assert.ok(script.includes(name), `${shell}: ${path} ${long}`)
      }
    }
  }
})

test('zsh is offered what can stand there', { skip: missingProgram('zsh') }, async () => {
  const script = await completionOf('zsh')
  // The completion system itself wants a terminal: in its place what it is asked is printed.
  const press = `
    compdef() { }
    _describe() { [[ $1 == -o ]] && shift; local each; for each in \${(P)2}; do print -r -- "\${each%%:*}"; done }
    compadd() { shift; print -rl -- "$@" }
    _files() { if [[ $1 == -/ ]]; then print -rl -- *(/N); else print -rl -- *(N); fi }
    _message() { }
    source "$1"; shift; words=("$@"); CURRENT=$#; _sser`
  for (const [line, offered] of CASES) {
    const given = line.split(' ')
    const out = execFileSync('zsh', ['-f', '-c', press, 'zsh', script, ...given], { cwd: folder, encoding: 'utf8' })
    const typed = given.at(-1) ?? ''
    // zsh itself leaves out what does not begin as what was typed.
    const fitting = words(out).filter((word) => word.startsWith(typed))
    assert.deepEqual(fitting, offered.toSorted(), line)
  }
})

test('fish is offered what can stand there', { skip: missingProgram('fish') }, async () => {
  const script = await completionOf('fish')
  for (const [line, offered] of CASES) {
    const press = `source ${script}; complete -C ${JSON.stringify(line)}`
    const out = execFileSync('fish', ['--no-config', '-c', press], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home },
    })
    assert.deepEqual(words(out), offered.toSorted(), line)
  }
})
