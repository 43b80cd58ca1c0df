/**
 * Each example that a help text ends with, run as it stands by a shell, against one server: with TOPIC, TOKEN_ID and the
 * server's token in the environment, in a folder of its own with the server's data in _storage and an empty _config.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after, before, test } from 'node:test'
import type { CliCommand } from '../../src/cli/cli-command.ts'
import { programOf } from '../../src/cli/program.ts'
import { SserClient } from '../../src/client/index.ts'
import { builtMain, ServerProcess } from '../support/server-process.ts'
import { silentHost } from './silent-host.ts'

const WAIT_MS = 60_000

/** Examples that go on until they are told to end, and what they print before that. */
const ENDLESS: readonly (readonly [command: string, printed: RegExp])[] = [
  ['while read -r message', /^got /m],
  ['sser serve', /listens on http/],
]
/** Commands that want the server to be stopped. */
const OFFLINE = ['sser log dump', 'sser log restore', 'sser log repair']
/** Those that want an authority: tls.test.ts runs them with one. */
const ELSEWHERE = ['sser tls renew']

const folder = mkdtempSync(join(tmpdir(), 'sser-examples-'))
const commands = commandsBelow(programOf(silentHost()))
const running = new Set<ChildProcess>()
let server: ServerProcess
let client: SserClient

before(async () => {
  server = await ServerProcess.start()
  client = new SserClient({ url: server.url, token: server.apiToken })
  const program = join(folder, 'bin', 'sser')
  mkdirSync(join(folder, 'bin'))
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' '${builtMain()}' "$@"\n`)
  chmodSync(program, 0o755)
  mkdirSync(join(folder, '_config'))
  symlinkSync(server.directory, join(folder, '_storage'))
})

after(async () => {
  for (const { pid } of running) if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  await server?.close()
  rmSync(folder, { recursive: true })
})

function commandsBelow(command: CliCommand): CliCommand[] {
  return [command, ...command.subcommands.flatMap(commandsBelow)]
}

/** One with some events, and a further token, which are there for an example alone. */
async function environment(): Promise<Record<string, string>> {
  const { id } = await client.topics.create({ persist: true, name: 'orders' })
  await client.publishMany(
    id,
    ['one', 'two', 'three'].map((message) => ({ message })),
  )
  const { id: tokenId } = await client.tokens.create(id)
  return { TOPIC: id, TOKEN_ID: tokenId }
}

interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

async function run(line: string, env: Readonly<Record<string, string>>): Promise<Ran> {
  const child = spawn('bash', ['-c', `set -o pipefail; ${line}`], {
    cwd: folder,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: `${join(folder, 'bin')}:${process.env['PATH']}`,
      HOME: folder,
      PORT: '0',
      SSLPORT: '0',
      SSER_URL: server.url,
      SSER_TOKEN: server.apiToken,
      ...env,
    },
  })
  running.add(child)
  const endless = ENDLESS.find(([part]) => line.includes(part))
  let [out, err] = ['', '']
  const signal = (name: NodeJS.Signals) => {
    if (child.pid !== undefined && running.has(child)) process.kill(-child.pid, name)
  }
  const tooLong = setTimeout(() => signal('SIGKILL'), WAIT_MS)
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
    if (endless?.[1].test(out)) signal('SIGTERM')
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  clearTimeout(tooLong)
  running.delete(child)
  return { code: endless?.[1].test(out) ? 0 : code, out, err }
}

/** The examples of a command one after the other; of so many commands at the same time. */
async function runExamples(
  chosen: readonly CliCommand[],
  atOnce: number,
  given?: Readonly<Record<string, string>>,
): Promise<void> {
  const waiting = [...chosen]
  async function runNext(): Promise<void> {
    for (let command = waiting.shift(); command !== undefined; command = waiting.shift()) {
      const env = given ?? (await environment())
      for (const example of command.examples) {
        const { code, out, err } = await run(example, env)
        assert.deepEqual({ code, err }, { code: 0, err: '' }, `${example}\n${out}`)
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, runNext))
}

test('every command that does something has an example of itself', () => {
  const without = commands.filter(({ subcommands, examples, path }) => {
    return subcommands.length === 0 && !examples.some((example) => example.includes(path))
  })
  assert.deepEqual(
    without.map(({ path }) => path),
    [],
  )
})

test('the help of a command shows its examples, and what it may end with', () => {
  for (const command of commands) {
    const { examples, exitCodes, path } = command
    const out = new PassThrough().setEncoding('utf8')
    command.configureOutput({ writeOut: (text) => out.write(text) })
    command.outputHelp()
    const help = String(out.read())
    for (const example of examples) assert.ok(help.includes(`  ${example}\n`), `${path}: ${example}`)
    for (const [code, meaning] of exitCodes) assert.ok(help.includes(`${code}  ${meaning}\n`), `${path}: ${code}`)
    if (command.subcommands.length === 0) assert.ok(exitCodes.length > 0, `${path} says what it may end with`)
  }
})

test('every example runs as it stands', { timeout: 4 * WAIT_MS }, async () => {
  const isOffline = ({ path }: CliCommand) => OFFLINE.includes(path)
  await runExamples(
    commands.filter((command) => !isOffline(command) && !ELSEWHERE.includes(command.path)),
    availableParallelism(),
  )
  const left = await environment()
  await server.kill('SIGTERM')
  await runExamples(commands.filter(isOffline), 1, left)
})
