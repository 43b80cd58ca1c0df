// The version in package.json, from src/ as well as from dist/src/.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export function packageVersion(): string {
  const candidates = ['../../package.json', '../../../package.json']
  const path = candidates.map((relative) => fileURLToPath(new URL(relative, import.meta.url))).find(existsSync)
  assert(path !== undefined, 'package.json stands above the program')
  const { version } = JSON.parse(readFileSync(path, 'utf8')) as { readonly version: string }
  return version
}
