/** The busiest functions of the CPU profiles in a folder, as node's --cpu-prof writes them. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const FUNCTIONS = 25

/** One line each, by the time spent in the function itself. */
export function busiestFunctions(directory: string): string[] {
  const selfUs = new Map<string, number>()
  let totalUs = 0
  for (const name of readdirSync(directory)) {
    if (!name.endsWith('.cpuprofile')) continue
    const profile: Profile = JSON.parse(readFileSync(join(directory, name), 'utf8'))
    const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
    for (const [index, id] of profile.samples.entries()) {
      const spentUs = profile.timeDeltas[index] ?? 0
      const of = names.get(id) ?? '?'
      selfUs.set(of, (selfUs.get(of) ?? 0) + spentUs)
      totalUs += spentUs
    }
  }
  return [...selfUs]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, FUNCTIONS)
    .map(([of, spentUs]) => `${((spentUs / totalUs) * 100).toFixed(1).padStart(5)} %  ${of}`)
}

function nameOf({ functionName, url, lineNumber }: Profile['nodes'][number]['callFrame']): string {
  const place = url === '' ? '' : ` ${url.replace(/^.*\/(dist|node_modules)\//, '')}:${lineNumber + 1}`
  return `${functionName || '(anonymous)'}${place}`
}
