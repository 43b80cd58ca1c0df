// The server's greeting for whoever started it: where it listens, where its data is, and three commands to paste, complete with
// their token. In production no token is printed; the commands then use the environment variable that holds it.

export interface Greeting {
  /** Over TLS. */
  readonly isSecure: boolean
  /** The certificate that curl must trust, where no authority vouches for it. */
  readonly trustedFile: string | undefined
  readonly version: string
  /** Undefined: all addresses of the machine. */
  readonly host: string | undefined
  readonly port: number
  readonly dataDirectory: string
  readonly isPersistent: boolean
  /** File with the tokens that the server made for itself; undefined where all were given. */
  readonly tokenFile: string | undefined
  /** Undefined: it must not be printed. */
  readonly apiToken: string | undefined
}

export function greetingText(greeting: Greeting): string {
  const { version, dataDirectory, isPersistent, tokenFile, apiToken } = greeting
  const plainUrl = serverUrl(greeting.host, greeting.port)
  const url = greeting.isSecure ? plainUrl.replace('http:', 'https:') : plainUrl
  const curl = greeting.trustedFile === undefined ? 'curl' : `curl --cacert ${quoted(greeting.trustedFile)}`
  const bearer = shellQuoted(apiToken === undefined ? undefined : `authorization: Bearer ${apiToken}`)
  const json = "-H 'content-type: application/json'"
  const topicBody = `'{"pubsub":{"persist":${isPersistent}}}'`
  const token = tokenFile === undefined ? 'the metrics token' : 'a token of the file below'
  const kept = isPersistent ? 'a persistent topic' : 'a topic in memory (the persistent store is off)'
  return `
sser ${version} listens on ${url}

Dashboard: ${url}/ (sign in with ${token})
Data:      ${dataDirectory}${tokenFile === undefined ? '' : `\nTokens:    ${tokenFile}`}

Create ${kept}; its id goes into $TOPIC:
TOPIC=$(${curl} -fsS ${url}/api/v1/pubsubs -H ${bearer} ${json} -d ${topicBody} | sed 's/.*"id":"\\([^"]*\\)".*/\\1/'); echo "TOPIC=$TOPIC"

Publish:
${curl} -fsS "${url}/api/v1/pubsubs/$TOPIC/events" -H ${bearer} ${json} -d '{"event":{"message":"Hello"}}'

Watch, from the first event on (in another terminal, first paste the TOPIC=… that the first line printed):
${curl} -fsSN "${url}/api/v1/pubsubs/$TOPIC/events?since=earliest" -H ${bearer}

`
}

/** Where a browser on this machine reaches the server. */
export function serverUrl(host: string | undefined, port: number): string {
  const isEverywhere = host === undefined || host === '0.0.0.0' || host === '::'
  const name = isEverywhere ? 'localhost' : host.includes(':') ? `[${host}]` : host
  return `http://${name}:${port}`
}

function shellQuoted(header: string | undefined): string {
  if (header === undefined) return '"authorization: Bearer $SSER_API_ACCESS_TOKEN"'
  return quoted(header)
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
