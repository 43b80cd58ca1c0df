/**
 * A reporter beside `spec`: the totals as `# tests 12`, `# pass 12`, …, in the same form on every version of Node and on
 * a terminal as well as in a file. Plain JavaScript, because Node loads reporters before anything that reads TypeScript.
 */
// biome-ignore lint/style/noDefaultExport: the test runner takes a reporter's default export and nothing else.
export default async function* closingLines(source) {
  for await (const { type, data } of source) {
    if (
      type === 'test:diagnostic' &&
      data.nesting === 0 &&
      /^(tests|suites|pass|fail|cancelled|skipped|todo) \d/.test(data.message)
    ) {
      yield `# ${data.message}\n`
    }
  }
}
