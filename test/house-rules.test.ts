/**
 * The rules of the house that a compiler does not know: who may import whom, which package belongs where, no file that
 * nothing uses, no stray output, nothing left over. What is allowed stands in the tables on top.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Where use begins: programs, and the faces that others import. A pattern ends in `/`: every file below it. */
const ENTRY_POINTS = [
  'src/main.ts',
  'src/cli/',
  'storage-engine/index.ts',
  'src/client/index.ts',
  'src/dashboard/page.ts',
  'src/dashboard/feed-worker.ts',
  // The disk of the tests and the fuzzers. It lives beside the other two, so that all three obey one port.
  'storage-engine/faulty-files.ts',
]

/** Rooms, and what each may import of ours beside itself. The first pattern that fits a file says its room. */
const ROOMS: readonly (readonly [room: string, mayImport: readonly string[]])[] = [
  ['storage-engine/', []],
  ['src/sse/', []],
  ['src/domain/', ['src/sse/encode.ts', 'storage-engine/index.ts']],
  ['src/http/', ['src/domain/', 'src/sse/']],
  // How the server is called, and what it answers; the library's sources load no more than a page can.
  ['src/dashboard/', ['src/sse/decode.ts', 'src/client/', 'src/http/dashboard-sample.ts']],
  ['src/tls/', []],
  ['src/client/', ['src/sse/decode.ts']],
  ['src/control/', ['storage-engine/index.ts', 'src/tls/status.ts']],
  [
    'src/cli/',
    ['src/client/', 'src/control/', 'src/domain/', 'src/tls/', 'storage-engine/index.ts', 'src/app/', 'src/config/'],
  ],
  ['src/config/', []],
  ['src/logger.ts', []],
  // Of others types only, which the rule below checks: those of the observers.
  ['src/metrics/', ['src/domain/', 'src/http/errors.ts', 'storage-engine/index.ts']],
  ['src/app/', ['src/', 'storage-engine/index.ts']],
  ['src/main.ts', ['src/cli/']],
]
const TYPES_ONLY_ROOMS = ['src/metrics/']

/** Packages, and the rooms that may import them. What is not named here may be imported nowhere. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  '@hapi/hapi': ['src/http/'],
  '@hapi/boom': ['src/http/'],
  'fast-json-stringify': ['src/http/'],
  joi: ['src/http/', 'src/config/'],
  yaml: ['src/config/'],
  pino: ['src/logger.ts'],
  'pino-pretty': ['src/logger.ts'],
  commander: ['src/cli/'],
  'node-forge': ['src/tls/'],
  'acme-client': ['src/tls/'],
  '@peculiar/asn1-ocsp': ['src/tls/ocsp.ts'],
  '@peculiar/asn1-schema': ['src/tls/ocsp.ts'],
  '@peculiar/asn1-x509': ['src/tls/ocsp.ts'],
  'prom-client': ['src/metrics/text.ts'],
  uplot: ['src/dashboard/'],
}

/** Where people read what is printed; and lines that they paste into programs of their own. */
const CONSOLE_ROOMS = ['src/cli/', 'src/main.ts', 'src/logger.ts', 'src/dashboard/snippets.ts']

// Put together here, so that this file passes its own rule.
const LEFTOVERS = ['FIX' + 'ME', 'X'.repeat(3), 'TO' + 'DO']
const PLACES_OF_A_WORKBENCH = ['/wo' + 'rk/', '/fa' + 'rm/', '../sha' + 'red', '.libr' + 'ary']
/** Files that hold whatever others put there. */
const NOT_OURS = ['package-lock.json', 'LICENSE']

interface Import {
  readonly from: string
  readonly specifier: string
  readonly typeOnly: boolean
}

function filesBelow(directory: string, ignored: readonly string[] = []): string[] {
  return readdirSync(join(ROOT, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = directory === '' ? entry.name : `${directory}/${entry.name}`
    if (ignored.includes(entry.name)) return []
    return entry.isDirectory() ? filesBelow(path, ignored) : [path]
  })
}

/** What git tracks or would track; in a copy without git, all that is not made by a tool. */
function projectFiles(): string[] {
  const made = ['.git', 'node_modules', 'dist', '_storage', '_config', '.env']
  if (!existsSync(join(ROOT, '.git'))) return filesBelow('', made)
  // A clone that belongs to another user is read all the same: nothing in it is run by this.
  const options = ['-c', `safe.directory=${ROOT.replace(/\/$/, '')}`, 'ls-files', '-coz', '--exclude-standard']
  const listed = execFileSync('git', options, { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26 })
  return listed.split('\0').filter((path) => path !== '' && existsSync(join(ROOT, path)))
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

function withoutComments(code: string): string {
  return code.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
}

function importsOf(from: string): Import[] {
  const code = withoutComments(read(from))
  const statements = code.matchAll(
    /^(?:import|export)\s(?:([^'"`;]*?)\sfrom\s)?['"]([^'"]+)['"]|\bimport\(\s*['"`]([^'"`]+)/gm,
  )
  return [...statements].map(([, clause = '', specifier = '', dynamic]) => ({
    from,
    specifier: dynamic ?? specifier,
    typeOnly: /^type\b/.test(clause) || /^\{(\s*type\s[^,}]+,?)+\s*\}$/.test(clause),
  }))
}

function isIn(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => (pattern.endsWith('.ts') ? path === pattern : path.startsWith(pattern)))
}

function targetOf({ from, specifier }: Import): string {
  return normalize(join(dirname(from), specifier))
}

const sources = [...filesBelow('src'), ...filesBelow('storage-engine')]
  .filter((path) => path.endsWith('.ts'))
  .toSorted()
const imports = sources.flatMap(importsOf)
const ownImports = imports.filter(({ specifier }) => specifier.startsWith('.'))

test('the parser of imports sees every form of them', () => {
  const path = 'src/cli/config-docs.ts'
  const found = importsOf(path).map(({ specifier }) => specifier)
  assert.deepEqual(found, ['node:fs', 'node:url', '../config/check.ts', '../config/schema.ts'])
  assert(imports.some(({ typeOnly }) => typeOnly))
  const lines = sources.flatMap((source) => withoutComments(read(source)).match(/^(import|export)\b.*\bfrom '/gm) ?? [])
  assert(imports.length >= lines.length, 'some line with an import was not understood')
})

test('every file has a room, and imports only what its room may', () => {
  const roomOf = (path: string) => ROOMS.find(([pattern]) => isIn(path, [pattern]))
  assert.deepEqual(
    sources.filter((path) => roomOf(path) === undefined),
    [],
    'files that have no room in the plan',
  )
  const wrong = ownImports.flatMap((each) => {
    const [room = '', mayImport = []] = roomOf(each.from) ?? []
    const target = targetOf(each)
    if (TYPES_ONLY_ROOMS.includes(room) && !each.typeOnly && !isIn(target, [room]))
      return [`${each.from} may import types only: ${target}`]
    return isIn(target, [room, ...mayImport]) ? [] : [`${each.from} may not import ${target}`]
  })
  assert.deepEqual(wrong, [])
})

test('every import of ours names a file that is there, with its ending', () => {
  const wrong = ownImports.filter((each) => !sources.includes(targetOf(each)))
  assert.deepEqual(wrong, [])
})

test('every package is imported only where it belongs', () => {
  const wrong = imports.flatMap(({ from, specifier }) => {
    if (specifier.startsWith('.')) return []
    if (isBuiltin(specifier)) return specifier.startsWith('node:') ? [] : [`${from}: write node:${specifier}`]
    const name = specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/')
    return isIn(from, PACKAGES[name] ?? []) ? [] : [`${from} may not import ${specifier}`]
  })
  assert.deepEqual(wrong, [])
})

test('every dependency that is installed for users is used', () => {
  const { dependencies }: { readonly dependencies: Readonly<Record<string, string>> } = JSON.parse(read('package.json'))
  const unused = Object.keys(dependencies).filter((name) => !imports.some(({ specifier }) => specifier === name))
  assert.deepEqual(unused, [])
})

test('no file is dead: each is reached from a program or a face', () => {
  const entries = sources.filter((path) => isIn(path, ENTRY_POINTS))
  const missing = ENTRY_POINTS.filter((pattern) => !sources.some((path) => isIn(path, [pattern])))
  const reached = new Set(entries)
  for (const path of reached) {
    for (const each of ownImports) if (each.from === path) reached.add(targetOf(each))
  }
  const dead = sources.filter((path) => !reached.has(path))
  assert.deepEqual({ missing, dead }, { missing: [], dead: [] })
})

test('nothing prints but the command line, the start and the logger', () => {
  const printing = /\bconsole\s*[.[]|\bprocess\.(stdout|stderr)\.write\b/
  const wrong = sources.filter((path) => !isIn(path, CONSOLE_ROOMS) && printing.test(withoutComments(read(path))))
  assert.deepEqual(wrong, [])
})

test('no file is left half done, and none names a place outside of the project', () => {
  const marks = new RegExp(`\\b(${LEFTOVERS.join('|')})\\b`)
  const wrong = projectFiles().flatMap((path) => {
    if (NOT_OURS.includes(path)) return []
    return read(path)
      .split('\n')
      .flatMap((line, index) => {
        const places = PLACES_OF_A_WORKBENCH.filter((place) => line.includes(place))
        return marks.test(line) || places.length > 0 ? [`${path}:${index + 1}: ${line.trim()}`] : []
      })
  })
  assert.deepEqual(wrong, [])
})

test('every page has one title', () => {
  const wrong = projectFiles().flatMap((path) => {
    if (!path.endsWith('.md')) return []
    const titles =
      read(path)
        .replace(/^(```|~~~)[\s\S]*?^\1/gm, '')
        .match(/^# /gm) ?? []
    return titles.length === 1 ? [] : [`${path} has ${titles.length} titles`]
  })
  assert.deepEqual(wrong, [])
})
