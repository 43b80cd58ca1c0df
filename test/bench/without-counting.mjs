// Preloaded into a built server, by --import: what the parts tell reaches its log, and nobody counts it. For what counting
// costs; a server that is configured counts always.
import { register } from 'node:module'
import { isMainThread } from 'node:worker_threads'

// In the thread of the hooks this file is loaded once more, for the hook alone.
if (isMainThread) register(import.meta.url)

const named = 'export function telling('

export async function load(url, context, next) {
  const loaded = await next(url, context)
  if (!url.endsWith('/src/app-observers.js')) return loaded
  const source = String(loaded.source)
  if (!source.includes(named)) throw new Error(`There is no "${named}" to take out any more.`)
  return { ...loaded, source: source.replace(named, `${named}first) { return first }\nfunction unused(`) }
}
