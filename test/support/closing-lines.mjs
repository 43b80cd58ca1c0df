/**
 * A reporter beside `spec`: what was left out, and why, as `# left out: …`, then the totals as `# tests 12`, `# pass 12`, …,
 * in the same form on every version of Node and on a terminal as well as in a file. Plain JavaScript, because Node loads
 * reporters before anything that reads TypeScript.
 */
// biome-ignore lint/style/noDefaultExport: the test runner takes a reporter's default export and nothing else.
export default async function* closingLines(source) {
  const leftOut = []
  const totals = []
  for await (const { type, data } of source) {
    if (type === 'test:pass' && data.skip !== undefined) {
      leftOut.push(`# left out: ${data.name}${typeof data.skip === 'string' ? ` (${data.skip})` : ''}\n`)
    } else if (
      type === 'test:diagnostic' &&
      data.nesting === 0 &&
      /^(tests|suites|pass|fail|cancelled|skipped|todo) \d/.test(data.message)
    ) {
      totals.push(`# ${data.message}\n`)
    }
  }
  yield* leftOut
  yield* totals
}
