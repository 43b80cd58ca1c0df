// The lines that the dashboard offers to paste do what they say, whatever a token looks like.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { runInNewContext } from 'node:vm'
import { type Snippet, snippetsOf } from '../../src/dashboard/snippets.ts'
import { API_TOKEN, startFixture } from '../http/fixture.ts'

const place = { origin: 'http://127.0.0.1:1', topic: '000AGIqfWO2' }
const hostile = `a'b"c\\d$(e)\`f\``

function codeOf(snippets: readonly Snippet[], title: string): string {
  const found = snippets.find((snippet) => snippet.title === title)
  assert.ok(found, title)
  return found.code
}

/** The arguments that a shell makes of the line. */
function argumentsOf(code: string, token: string): string[] {
  const script = `curl() { printf '%s\\0' "$@"; }\n${code}`
  return execFileSync('sh', ['-c', script], { env: { TOKEN: token }, encoding: 'utf8' })
    .split('\0')
    .slice(0, -1)
}

test('a shell sends the token that is known, and else that of its own variable', () => {
  const known = snippetsOf({ ...place, subscribeToken: hostile, publishToken: hostile })
  const unknown = snippetsOf({ ...place, subscribeToken: undefined, publishToken: undefined })
  for (const title of ['Subscribe with curl', 'Publish with curl']) {
    for (const snippets of [known, unknown]) {
      const sent = argumentsOf(codeOf(snippets, title), hostile)
      assert.ok(sent.includes(`authorization: Bearer ${hostile}`), title)
      assert.ok(sent.includes(`${place.origin}/api/v1/pubsubs/${place.topic}/events`), title)
    }
  }
})

test('a browser opens the stream with the token that is known', () => {
  const opened: string[] = []
  class EventSource {
    constructor(url: string) {
      opened.push(url)
    }
  }
  for (const subscribeToken of [hostile, undefined]) {
    const snippets = snippetsOf({ ...place, subscribeToken, publishToken: undefined })
    runInNewContext(codeOf(snippets, 'Subscribe in a browser'), { EventSource })
  }
  assert.deepEqual(
    opened.map((url) => new URL(url).searchParams.get('access_token')),
    [hostile, '$TOKEN'],
  )
})

test('the programs use the client as it is', async (t) => {
  const { origin, createTopic, hub } = await startFixture(t)
  const { id } = await createTopic()
  const snippets = snippetsOf({ origin, topic: id, subscribeToken: API_TOKEN, publishToken: API_TOKEN })
  const { SserClient } = await import('../../src/client/index.ts')
  const run = (title: string, names: Record<string, unknown>) => {
    const code = codeOf(snippets, title).replace(/^import .*$/m, '')
    return runInNewContext(`(async () => {${code}})()`, { SserClient, ...names }) as Promise<void>
  }
  await run('Publish from a program', {})
  const told: unknown[] = []
  const reading = run('Subscribe in a program', {
    console: {
      log: (...words: unknown[]) => {
        told.push(...words)
        // The program ends with its topic.
        hub.deleteTopic(id)
      },
    },
  })
  await reading
  assert.deepEqual(told, ['greeting', 'Hello'])
})
