// Lines to paste for one topic. Pure. An unknown token is written as $TOKEN, which a shell fills in.

export interface SnippetFacts {
  /** The server's URL, without a trailing slash. */
  readonly origin: string
  readonly topic: string
  /** The topic's token; undefined: unknown. */
  readonly subscribeToken: string | undefined
  readonly publishToken: string | undefined
}

export interface Snippet {
  readonly title: string
  readonly code: string
}

export function snippetsOf({ origin, topic, subscribeToken, publishToken }: SnippetFacts): readonly Snippet[] {
  const url = `${origin}/api/v1/pubsubs/${topic}/events`
  return [
    {
      title: 'Subscribe with curl',
      code: `curl -sN '${url}' \\\n  -H ${bearer(subscribeToken)}`,
    },
    {
      title: 'Publish with curl',
      code: `curl -s '${url}' \\\n  -H ${bearer(publishToken)} \\\n  -H 'content-type: application/json' \\\n  -d '{"event":{"type":"greeting","message":"Hello"}}'`,
    },
    {
      title: 'Subscribe in a browser',
      code: `const events = new EventSource(
  ${quoted(`${url}?access_token=${subscribeToken === undefined ? '$TOKEN' : encodeURIComponent(subscribeToken)}`)},
)
// Events without a type; for others: addEventListener('greeting', …)
events.onmessage = ({ lastEventId, data }) => console.log(lastEventId, data)`,
    },
    {
      title: 'Subscribe in a program',
      code: `import { SserClient } from 'sser/client'

const client = new SserClient({ url: ${quoted(origin)}, token: ${quoted(subscribeToken ?? '$TOKEN')} })
for await (const item of client.subscribe(${quoted(topic)}, { since: 'earliest' })) {
  if (item.kind === 'event') console.log(item.type, item.data)
  else console.warn('Events may be missing:', item.reason)
}`,
    },
    {
      title: 'Publish from a program',
      code: `import { SserClient } from 'sser/client'

const client = new SserClient({ url: ${quoted(origin)}, token: ${quoted(publishToken ?? '$TOKEN')} })
await client.publish(${quoted(topic)}, { type: 'greeting', message: 'Hello' })`,
    },
  ]
}

/** The first lines for a newcomer to paste, in the server's folder. */
export function firstLines(origin: string): string {
  return `TOKEN=$(sed -n 's/.*"apiAccessToken": *"\\([^"]*\\)".*/\\1/p' _storage/tokens.json)
curl -s ${origin}/api/v1/pubsubs -H "authorization: Bearer $TOKEN" \\
  -H 'content-type: application/json' -d '{"pubsub":{"persist":true}}'`
}

/** A header quoted for a shell: in single quotes only a single quote is special. */
function bearer(token: string | undefined): string {
  if (token === undefined) return '"authorization: Bearer $TOKEN"'
  return `'authorization: Bearer ${token.replaceAll("'", "'\\''")}'`
}

function quoted(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`
}
