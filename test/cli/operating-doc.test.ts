/**
 * docs/operating.md names every message that the server can give an operator. What counts as one is found in the
 * sources: what is logged above debug, the errors of the storage engine, of the tokens and of the start, and the
 * findings of `sser log`.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PAGE = 'docs/operating.md'

function read(path: string): string {
  return readFileSync(`${ROOT}/${path}`, 'utf8')
}

function engineSources(): string[] {
  // The disk of the tests tells nobody anything.
  const names = readdirSync(`${ROOT}/storage-engine`).filter(
    (name) => name.endsWith('.ts') && !name.startsWith('faulty'),
  )
  return names.map((name) => read(`storage-engine/${name}`))
}

/** A quoted text or template that stands next, and what is joined to it. */
const LITERAL = String.raw`((?:'(?:[^'\\\n]|\\.)*'|\`(?:[^\`\\]|\\.)*\`)(?:\s*\+\s*(?:'(?:[^'\\\n]|\\.)*'|\`(?:[^\`\\]|\\.)*\`))*)`

function literalsAfter(pattern: string, source: string): string[] {
  return [...source.matchAll(new RegExp(pattern + LITERAL, 'g'))].map(([, literal = '']) => literal)
}

/** Of its first sentence the longest part that is the same each time. */
function fixedPart(literal: string): string {
  const text = literal.replace(/['`]\s*\+\s*['`]/g, '').slice(1, -1)
  const [sentence = ''] = text
    .replaceAll("\\'", "'")
    .replaceAll('\\`', '`')
    .split(/(?<=\.) /)
  const parts = sentence
    .split(/\$\{(?:[^{}]|\{[^}]*\})*\}/)
    .map((part) => part.replace(/[\s(:"']+$/, '').replace(/^[\s):,."']+/, ''))
  return parts.reduce((longest, part) => (part.length > longest.length ? part : longest), '')
}

function messages(): string[] {
  const found = [
    ...['src/app/app.ts', 'src/app/observers.ts', 'src/cli/serve.ts'].flatMap((path) =>
      literalsAfter(String.raw`logger\.(?:info|warn|error)\(\s*(?:\{[^}]*\}|[a-z]+),\s*`, read(path)),
    ),
    ...engineSources().flatMap((source) => literalsAfter(String.raw`new StorageError\(\s*'[A-Z_]+',\s*`, source)),
    ...literalsAfter(String.raw`(?:throw unusable\(path,\s*|new TokenFileError\(\s*)`, read('src/app/token-file.ts')),
    ...literalsAfter(String.raw`return\s+`, read('src/cli/start-failure.ts')),
    ...literalsAfter(String.raw`notices\.push\(\s*`, read('src/config/config.ts')),
  ]
  return [...new Set(found.map(fixedPart).filter((part) => part.length >= 8))]
}

const page = read(PAGE).replace(/\s+/g, ' ')

test('the messages are found in the sources', () => {
  const found = messages()
  assert(found.length > 30, `${found.length} messages`)
  for (const one of [
    'The log is recovered.',
    'The data folder is in use by',
    'is taken: another program listens there',
  ]) {
    assert(
      found.some((message) => message.includes(one)),
      `${one}: ${found.join('\n')}`,
    )
  }
})

test('docs/operating.md names every message that the server can give an operator', () => {
  assert.deepEqual(
    messages().filter((message) => !page.includes(message)),
    [],
  )
})

test('docs/https.md names everything that can be wrong with a certificate', () => {
  const sources = readdirSync(`${ROOT}/src/tls`).map((name) => read(`src/tls/${name}`))
  const found = sources.flatMap((source) =>
    literalsAfter(String.raw`(?:new (?:Tls|Acme|Ocsp)Error\(|doubts\.push\(|orderFailed\()\s*`, source),
  )
  found.push(...literalsAfter(String.raw`return\s+`, read('src/tls/acme-words.ts')))
  assert(found.length >= 25, `${found.length} messages`)
  const https = read('docs/https.md').replace(/\s+/g, ' ')
  const missing = [...new Set(found.map(fixedPart))].filter((part) => part.length >= 8 && !https.includes(part))
  assert.deepEqual(missing, [])
})

test('docs/operating.md names every code of the storage engine and every kind of finding', () => {
  const codes = [...read('storage-engine/errors.ts').matchAll(/\| '(STORAGE_[A-Z_]+)'/g)].map(([, code]) => code ?? '')
  const block = read('storage-engine/inspect-findings.ts').split('export type FindingKind =')[1]?.split('\n\n')[0] ?? ''
  const kinds = [...block.matchAll(/\| '([a-z-]+)'/g)].map(([, kind]) => kind ?? '')
  assert(codes.length > 10 && kinds.length > 10)
  assert.deepEqual(
    [...codes, ...kinds].filter((name) => !page.includes(`\`${name}\``)),
    [],
  )
})
