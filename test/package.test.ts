/** What `npm pack` makes, installed in an empty folder as a user would: the command serves, the library imports with types. */

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { ROOT } from './support/server-process.ts'

/** What is told is told to somebody who wonders whether it is large. */
const SIZE_TOLERANCE = 0.3

const folder = mkdtempSync(join(tmpdir(), 'sser-package-'))
after(() => rmSync(folder, { recursive: true }))

function run(program: string, args: readonly string[], cwd = folder): string {
  return execFileSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

function bytesBelow(path: string): number {
  return readdirSync(path, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}

// The build of this folder is packed as it is: `npm ci` and `npm run build` have made it.
const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
const packed = run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder, '--json', ...quiet], ROOT)
const [{ filename, files, size, unpackedSize }] = JSON.parse(packed) as [
  { filename: string; files: readonly { path: string }[]; size: number; unpackedSize: number },
]
writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
run('npm', ['install', '--omit=dev', '--prefer-offline', join(folder, filename), ...quiet])
const installed = join(folder, 'node_modules', 'sser')

test('the package holds what runs and what is read, and nothing else', () => {
  const tops = new Set(files.map(({ path }) => path.split('/')[0]))
  assert.deepEqual([...tops].sort(), ['CHANGELOG.md', 'LICENSE', 'README.md', 'config', 'dist', 'docs', 'package.json'])
  assert.ok(!existsSync(join(folder, 'node_modules', 'typescript')), 'what is for development is not installed')
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, object>
  const wanted = Object.keys(manifest['dependencies'] ?? {})
  assert.ok(existsSync(join(installed, 'dist', 'src', 'dashboard', 'index.html')), 'the dashboard is there')
  for (const name of wanted) assert.ok(existsSync(join(folder, 'node_modules', name)), `${name} is installed`)
})

test('what is installed imports the packages that it asks for, and no others', () => {
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>
  }
  const scripts = files.map(({ path }) => path).filter((path) => /^dist\/.*\.js$/.test(path))
  const named = scripts.flatMap((path) =>
    [
      ...readFileSync(join(installed, path), 'utf8').matchAll(
        /^(?:import|export)\s(?:[^'"`;]*?\sfrom\s)?['"]([^'"]+)['"]/gm,
      ),
    ].map(([, specifier = '']) => specifier),
  )
  const packages = new Set(
    named
      .filter((specifier) => !/^(?:node:|\.)/.test(specifier))
      .map((specifier) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier),
  )
  assert.ok(packages.has('@hapi/hapi'))
  assert.deepEqual(
    [...packages].filter((name) => !(name in dependencies)),
    [],
  )
})

test('docs/operating.md says about how large the package is, and with what it needs', () => {
  const page = readFileSync(join(ROOT, 'docs', 'operating.md'), 'utf8')
  const told = /has ([\d.]+) MB, unpacked ([\d.]+) MB, and (\d+) MB with the packages that it needs/.exec(page)
  assert.ok(told !== null)
  const megabytes = [size, unpackedSize, bytesBelow(join(folder, 'node_modules'))].map((bytes) => bytes / 1e6)
  for (const [index, is] of megabytes.entries()) {
    const says = Number(told[index + 1])
    assert.ok(Math.abs(says / is - 1) < SIZE_TOLERANCE, `the page says ${says} MB, and it is ${is.toFixed(2)} MB`)
  }
})

test('the command of the installed package serves, with a log of its own', async () => {
  const env = { PATH: process.env['PATH'], HOME: folder, PORT: '127.0.0.1:0' }
  const server = spawn(join(folder, 'node_modules', '.bin', 'sser'), [], { cwd: folder, env })
  const exited = once(server, 'exit')
  try {
    const lines = createInterface({ input: server.stdout })
    let line = ''
    for await (line of lines) if (/listens on|"The server is ready/.test(line)) break
    assert.match(line, /listens on|ready/)
    assert.ok(readdirSync(join(folder, '_storage', 'log')).length > 0)
  } finally {
    server.kill('SIGTERM')
  }
  assert.deepEqual(await exited, [0, null])
})

test('the library of the installed package is imported by its name, and is typed', () => {
  writeFileSync(
    join(folder, 'use.mjs'),
    "import { SserClient } from 'sser/client'\nconsole.log(typeof new SserClient({ url: 'http://x' }).subscribe)\n",
  )
  assert.equal(run(process.execPath, ['use.mjs']), 'function\n')
  writeFileSync(
    join(folder, 'use.mts'),
    "import { SserClient, type ReceivedItem } from 'sser/client'\n" +
      "const client = new SserClient({ url: 'http://x', token: 't' })\n" +
      "for await (const item of client.subscribe('id')) { const one: ReceivedItem = item; console.log(one.cursor) }\n" +
      '// @ts-expect-error: a message is needed.\n' +
      "await client.publish('id', {})\n",
  )
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023,dom,dom.iterable',
  ]
  run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), ...options, 'use.mts'])
  assert.ok(existsSync(join(installed, 'dist', 'src', 'client', 'index.d.ts')))
})
