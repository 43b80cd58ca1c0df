/**
 * Every setting of the server, defined once: its default, bounds, unit, environment variable and purpose, as one Joi schema.
 * check.ts validates values by it and describes it; docs/configuration.md is generated from it. All values arrive here as text,
 * or as lists and sections of text, because YAML files and the environment supply nothing else; the schema turns them into
 * numbers, booleans and addresses.
 *
 * It must not know where a value came from, nor what any part of the server does with it.
 */
import { isIP } from 'node:net'
import Joi from 'joi'
import {
  type AddressRange,
  GIB_BYTES,
  HOUR_MS,
  isOrigin,
  KIB_BYTES,
  type ListenAddress,
  MIB_BYTES,
  MINUTE_MS,
  parseAddress,
  parseAddressRange,
  parseBytes,
  parseDuration,
  parseHosts,
  parseTopicId,
  SECOND_MS,
} from './values.ts'

/** What a log record needs in addition to the message: the publisher's id, the type and the record's own header. */
const RECORD_OVERHEAD_BYTES = 64 * KIB_BYTES
const LOG_BATCH_BYTES_DEFAULT = 8 * MIB_BYTES

export type AppEnv = 'development' | 'staging' | 'production'
export const APP_ENVS: readonly AppEnv[] = ['development', 'staging', 'production']

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'
export type LogSync = 'commit' | 'interval' | 'never'
export type WhenFull = 'refuse' | 'dropOldest'

/** A configured topic. Here its id has all 11 characters, however it was written. */
export interface StaticPubSub {
  readonly id: string
  readonly name: string
  readonly token: string
}

/** An API token in addition to the main one. */
export interface NamedApiToken {
  readonly name: string
  readonly token: string
  readonly rights: readonly (typeof apiRights)[number][]
}

/** The settings after validation. Durations end in `Ms`; sizes are in bytes; everything is frozen. */
export interface Settings {
  readonly server: {
    readonly addr: ListenAddress
    readonly sslAddr: ListenAddress
    readonly idleTimeoutMs: number
    readonly readTimeoutMs: number
    readonly writeTimeoutMs: number
    readonly maxRequestBodySize: number
    readonly maxStreamAgeMs: number
    readonly shutdownGraceMs: number
    readonly retryMs: number
    readonly sendBufferBytes: number
    readonly maxConnections: number
    readonly corsCredentialOrigins: readonly string[]
    readonly trustedProxies: readonly AddressRange[]
    readonly proxyProtocol: boolean
    readonly ssl: {
      readonly enabled: boolean
      readonly domainName?: readonly string[]
      readonly letsencryptEmail?: string
      readonly certFile?: string
      readonly keyFile?: string
      readonly cacheDir?: string
      readonly checkIntervalMs: number
      readonly handshakeTimeoutMs: number
      readonly streamsPerConnectionMax: number
      readonly streamResetsMax: number
      readonly strictTransportMs: number
      readonly acme: {
        readonly directoryUrl: string
        readonly keyType: 'P-256' | 'RSA'
        readonly preferredChain?: string
        readonly trustedFile?: string
        readonly externalAccount: { readonly keyId?: string; readonly hmacKey?: string }
        readonly retryFirstMs: number
        readonly retryMaxMs: number
      }
    }
  }
  readonly pubsub: {
    readonly apiAccessToken?: string
    readonly metricsAccessToken?: string
    readonly apiTokens: readonly NamedApiToken[]
    readonly tickFrequencyMs: number
    readonly ticketLifetimeMs: number
    readonly idempotencyWindowMs: number
    readonly staticPubSubs: readonly StaticPubSub[]
  }
  readonly metrics: { readonly openLocally: boolean }
  readonly kv: { readonly enabled: boolean }
  readonly storage: { readonly directory: string }
  readonly log: {
    readonly sync: LogSync
    readonly syncIntervalMs: number
    readonly segmentBytes: number
    readonly batchBytesMax: number
    readonly pendingBytesMax: number
    readonly readCacheBytes: number
    readonly indexCacheBytes: number
    readonly reserve: boolean
    readonly maxBytes: number
    readonly whenFull: WhenFull
    readonly checkpointIntervalMs: number
    readonly compaction: {
      readonly enabled: boolean
      readonly intervalMs: number
      readonly bytesPerSecond: number
      readonly deadShare: number
    }
  }
  readonly retention: {
    readonly maxAgeMs?: number
    readonly maxBytes?: number
    readonly maxEvents?: number
  }
  readonly memory: { readonly maxBytes: number }
  readonly hub: { readonly recentFramesBytes: number }
  readonly limits: {
    readonly topicsMax: number
    readonly subscribersMax: number
    readonly connectionsPerAddressMax: number
    readonly streamsPerTopicMax?: number
    readonly streamsPerTokenMax?: number
    readonly eventsPerSecondPerTokenMax?: number
    readonly eventIdBytesMax: number
    readonly eventTypeBytesMax: number
    readonly eventsPerRequestMax: number
    readonly historyEventsMax: number
    readonly topicsPerStreamMax: number
    readonly tokensPerTopicMax: number
    readonly ticketsMax: number
    readonly idempotencyKeysMax: number
    readonly wrongTokensMax: number
    readonly wrongTokenWaitMaxMs: number
    readonly throttledClientsMax: number
  }
  readonly logging: { readonly level: LogLevel }
}

/** The largest record that a publish can produce from a request body of this size. */
export function recordBytesMaxOf(maxRequestBodySize: number): number {
  return maxRequestBodySize + RECORD_OVERHEAD_BYTES
}

const durationType: Joi.Extension = {
  type: 'duration',
  base: Joi.number(),
  messages: { 'duration.base': 'not a duration' },
  coerce(value: unknown, helpers: Joi.CustomHelpers) {
    const durationMs = typeof value === 'string' ? parseDuration(value) : undefined
    return durationMs === undefined ? { value, errors: [helpers.error('duration.base')] } : { value: durationMs }
  },
}

const bytesType: Joi.Extension = {
  type: 'bytes',
  base: Joi.number().integer(),
  messages: { 'bytes.base': 'not a size' },
  coerce(value: unknown, helpers: Joi.CustomHelpers) {
    // Bare digits arrive as a number: Joi's own coercion comes first.
    const bytes = typeof value === 'string' ? parseBytes(value) : typeof value === 'number' ? value : undefined
    return bytes === undefined ? { value, errors: [helpers.error('bytes.base')] } : { value: bytes }
  },
}

interface SettingJoi extends Joi.Root {
  duration(): Joi.NumberSchema
  bytes(): Joi.NumberSchema
}
const joi: SettingJoi = Joi.extend(durationType, bytesType)

/** What the schema says about a setting in addition to its bounds. */
export interface SettingMeta {
  readonly environment?: string
  readonly secret?: boolean
  readonly unneeded?: string
  readonly allowed?: string
  readonly defaultText?: string
}
/** A typed wrapper of `.meta()`, which itself accepts anything. */
const meta = (value: SettingMeta): SettingMeta => value

const flag = () => joi.boolean().truthy('yes', 'on', '1', 't').falsy('no', 'off', '0', 'f')
const duration = (leastMs: number, mostMs: number) => joi.duration().min(leastMs).max(mostMs)
const bytes = (least: number, most: number) => joi.bytes().min(least).max(most)
const count = (least: number, most: number) => joi.number().integer().min(least).max(most)
const address = (defaultText: string) =>
  joi
    .string()
    .custom((text: string, helpers) => parseAddress(text) ?? helpers.error('any.invalid'))
    .default(parseAddress(defaultText))
    .meta(meta({ allowed: '`:port`, `port`, `host:port` or `[IPv6]:port`, with a port from 0 to 65535', defaultText }))
const token = () =>
  joi
    .string()
    .pattern(/^(?:sha256:[0-9a-f]{64}|(?!sha256:)[\x21-\x7e]{16,512})$/)
    .meta(
      meta({
        secret: true,
        allowed:
          '16 to 512 visible ASCII characters without spaces; or `sha256:` and the SHA-256 of the token in 64 lower-case hex digits',
      }),
    )

/** Known from the original; accepted, reported once at the start, and without effect here. */
const unneeded = (why: string, values: Joi.Schema = joi.string()) =>
  values.meta(meta({ allowed: 'anything', unneeded: why }))
const ofItsHttpLibrary = () => unneeded('it configures something that only the original’s HTTP library has')

const apiRights = ['topics', 'publish', 'subscribe', 'metrics'] as const

const file = (environment: string) =>
  joi
    .string()
    .meta(meta({ environment, allowed: 'a file; a relative path starts from the server’s working directory' }))

/** The original's authority. */
export const DEFAULT_ACME_DIRECTORY = 'https://acme-v02.api.letsencrypt.org/directory'

const acmeSchema = joi
  .object({
    directoryUrl: joi
      .string()
      .uri({ scheme: 'https' })
      .default(DEFAULT_ACME_DIRECTORY)
      .meta(
        meta({
          environment: 'SSER_ACME_DIRECTORY',
          allowed: 'the address of an ACME directory, beginning with `https://`',
        }),
      )
      .description(
        'The authority to order certificates from. By letting the server order one you agree to its terms. For a trial, use `https://acme-staging-v02.api.letsencrypt.org/directory`, whose certificates no browser trusts.',
      ),
    keyType: joi
      .string()
      .valid('P-256', 'RSA')
      .default('P-256')
      .description('The type of key to order certificates for; `RSA` (2048 bits) is for very old clients.'),
    preferredChain: joi
      .string()
      .max(256)
      .meta(meta({ allowed: 'the common name of an authority' }))
      .description('If the authority offers several certificate chains, use the one with this issuer.'),
    trustedFile: joi
      .string()
      .meta(meta({ allowed: 'a file; a relative path starts from the server’s working directory' }))
      .description(
        'CA certificates in PEM that vouch for the directory, instead of the usual ones: for an authority of your own.',
      ),
    externalAccount: joi
      .object({
        keyId: joi
          .string()
          .max(512)
          .meta(meta({ allowed: '1 to 512 characters' }))
          .description('The id of the key that the authority gave you.'),
        hmacKey: joi
          .string()
          .pattern(/^[A-Za-z0-9_-]{16,1024}={0,2}$/)
          .meta(meta({ secret: true, allowed: 'the key in base64url, 16 to 1024 characters' }))
          .description('The key itself.'),
      })
      .default()
      .description(
        'For an authority that requires an account registered with it beforehand (external account binding).',
      ),
    retryFirst: duration(100, HOUR_MS)
      .default(2 * MINUTE_MS)
      .description(
        'How long to wait after a first failed order before trying again. The wait triples with each further failure, and is never shorter than the authority asks for.',
      ),
    retryMax: duration(SECOND_MS, 7 * 24 * HOUR_MS)
      .default(24 * HOUR_MS)
      .description('The longest wait between two orders.'),
  })
  .default()
  .description('Ordering certificates from an authority (ACME), for names that only an authority can vouch for.')

const sslSchema = joi
  .object({
    enabled: flag()
      .default(false)
      .meta(meta({ environment: 'SSER_SSL_ENABLED' }))
      .description(
        'Serves HTTPS, over HTTP/2 and HTTP/1.1. The certificate is the one in `server.ssl.certFile`. Without that file, `server.ssl.domainName` decides: the server signs its own certificate if there is no name, and for localhost, addresses, and names below `.test` and `.local`; for other names it orders one.',
      ),
    domainName: joi
      .string()
      .custom((text: string, helpers) => parseHosts(text) ?? helpers.error('any.invalid'))
      .meta(
        meta({
          environment: 'SSER_DOMAIN_NAME',
          allowed: 'a host name or an address, or several, separated by commas; `example.com` counts as missing',
        }),
      )
      .description(
        'The names and addresses that the certificate has to cover. The first is the main name. No certificate is ordered for an address.',
      ),
    letsencryptEmail: joi
      .string()
      .pattern(/^[^\s@]+@[^\s@]+$/)
      .meta(
        meta({
          environment: 'SSER_LETSENCYRPT_EMAIL',
          allowed: 'an e-mail address; one at an example domain counts as missing',
        }),
      )
      .description(
        'Where the authority may send mail; optional. The variable is spelled as in the original; `SSER_LETSENCRYPT_EMAIL` works, too.',
      ),
    certFile: file('SSER_SSL_CERT_FILE').description(
      'The certificate in PEM, followed by those of its intermediate authorities. The file is checked every `server.ssl.checkInterval`; a new certificate is used without a restart.',
    ),
    keyFile: file('SSER_SSL_KEY_FILE').description('The private key of that certificate in PEM, not encrypted.'),
    cacheDir: joi
      .string()
      .meta(meta({ allowed: 'a folder', defaultText: 'the folder `certificates` in `storage.directory`' }))
      .description(
        'Where the server keeps the certificates that it orders or signs itself, and the key of its account. Several servers may share it.',
      ),
    checkInterval: duration(100, 24 * HOUR_MS)
      .default(10 * SECOND_MS)
      .description('How often to look for a new certificate.'),
    acme: acmeSchema,
    handshakeTimeout: duration(SECOND_MS, 2 * MINUTE_MS)
      .default(10 * SECOND_MS)
      .description('A connection that has not completed the TLS handshake within this time is cut off.'),
    streamsPerConnectionMax: count(1, 10_000)
      .default(250)
      .description('Maximum number of streams and requests at a time on one HTTP/2 connection.'),
    // Below the 1000 at which nghttp2 itself hears no more.
    streamResetsMax: count(10, 900)
      .default(500)
      .description(
        'How many requests and streams a client may reset, or have refused unread, in one burst; beyond that, its HTTP/2 connection is cut off. Each second, a tenth of this number is allowed again. Closing a page resets all of its streams.',
      ),
    strictTransport: duration(0, 2 * 365 * 24 * HOUR_MS)
      .default(0)
      .description(
        'How long browsers, after one visit, use HTTPS of their own accord (HSTS). The header is sent over HTTPS only, including that of a trusted proxy. With 0 it is not sent. It cannot be revoked before that time is over, so begin with a short one.',
      ),
  })
  .default()
  .description('HTTPS, served by the server itself.')

const serverSchema = joi
  .object({
    addr: address(':8889')
      .meta(meta({ environment: 'PORT' }))
      .description(
        'Where the server listens for HTTP. With `server.ssl.enabled`, this port only redirects to the HTTPS port.',
      ),
    sslAddr: address(':8888')
      .meta(meta({ environment: 'SSLPORT' }))
      .description('Where the server listens for HTTPS if `server.ssl.enabled` is on.'),
    idleTimeout: duration(SECOND_MS, 24 * HOUR_MS)
      .default(1800 * SECOND_MS)
      .description('A kept-alive connection without a further request is closed after this time.'),
    readTimeout: duration(SECOND_MS, 10 * MINUTE_MS)
      .default(15 * SECOND_MS)
      .description(
        'A request gets a 408 if its headers have not arrived within this time, or if its body stalls for this long.',
      ),
    writeTimeout: duration(100, HOUR_MS)
      .default(60 * SECOND_MS)
      .description(
        'A subscriber whose connection accepts nothing at all for this long is disconnected. One that is merely slow is not: it catches up from the log.',
      ),
    maxRequestBodySize: bytes(KIB_BYTES, 16 * MIB_BYTES)
      .default(MIB_BYTES)
      .description('A larger request body gets a 413 before it has been read completely.'),
    maxStreamAge: duration(100, 24 * HOUR_MS)
      .default(HOUR_MS)
      .description(
        'A stream that reaches this age is ended, between two events. Each stream’s limit is shortened by a random amount of up to a fifth, so that not all end at once. Clients resume by themselves, without loss.',
      ),
    shutdownGrace: duration(100, 10 * MINUTE_MS)
      .default(10 * SECOND_MS)
      .description('How long a stop may take to answer pending requests and to end the streams.'),
    retry: duration(100, 5 * MINUTE_MS)
      .default(2 * SECOND_MS)
      .description(
        'The shortest time that clients are told to wait before they reconnect (`retry:` in the stream). A random amount is added for each.',
      ),
    sendBufferBytes: bytes(16 * KIB_BYTES, 64 * MIB_BYTES)
      .default(256 * KIB_BYTES)
      .description(
        'When more bytes than this are waiting in a subscriber’s connection, it gets no more live frames, and catches up from the log as fast as it reads.',
      ),
    maxConnections: count(1, 1_000_000)
      .default(60_000)
      .description(
        'Maximum number of connections; further ones are refused. Each takes a file descriptor: see `ulimit -n`.',
      ),
    name: ofItsHttpLibrary(),
    tcpKeepalivePeriod: ofItsHttpLibrary(),
    tcpKeepalive: ofItsHttpLibrary(),
    noDefaultDate: ofItsHttpLibrary(),
    closeOnShutdown: ofItsHttpLibrary(),
    disablePreParseMultipartForm: ofItsHttpLibrary(),
    corsCredentialOrigins: joi
      .array()
      .items(
        joi
          .string()
          .custom((text: string, helpers) => (isOrigin(text) ? text : helpers.error('any.invalid')))
          .meta(meta({ allowed: 'an origin such as `https://app.example.org`, without a path or a trailing slash' })),
      )
      .default([])
      .meta(meta({ allowed: 'a list of origins such as `https://app.example.org`', defaultText: '[]' }))
      .description('The web origins whose pages may send credentials (cookies) with a subscription.'),
    trustedProxies: joi
      .array()
      .items(
        joi
          .string()
          .custom((text: string, helpers) => parseAddressRange(text) ?? helpers.error('any.invalid'))
          .meta(meta({ allowed: 'an address or a network, such as `10.0.0.7`, `10.0.0.0/8` or `2001:db8::/32`' })),
      )
      .max(1_000)
      .default([])
      .meta(meta({ allowed: 'a list of addresses and networks such as `10.0.0.0/8`', defaultText: '[]' }))
      .description(
        'The proxies in front of the server. `X-Forwarded-For` and `X-Forwarded-Proto` are trusted only from these: limits per address then apply to the client behind the proxy, and a client that reached the proxy by HTTPS is not redirected.',
      ),
    proxyProtocol: flag()
      .default(false)
      .description(
        'Whether the proxies in `server.trustedProxies` forward raw TCP, and begin each connection with a PROXY protocol header (version 1 or 2) that names the client. If so, they must send it within `server.ssl.handshakeTimeout`, on both ports. It is not accepted from anyone else.',
      ),
    ssl: sslSchema,
  })
  .default()
  .description('Where the server listens, and the limits of a connection.')

const pubsubSchema = joi
  .object({
    apiAccessToken: token()
      .meta(meta({ environment: 'SSER_API_ACCESS_TOKEN' }))
      .description(
        'Creates and deletes topics, and publishes. In production it must be set (`openssl rand -hex 32` generates one); elsewhere one is generated at the first start and kept in the data folder.',
      ),
    metricsAccessToken: token()
      .meta(meta({ environment: 'SSER_METRICS_ACCESS_TOKEN' }))
      .description('Reads the metrics and subscribes to topic 0. Set, or generated, like `pubsub.apiAccessToken`.'),
    apiTokens: joi
      .array()
      .items(
        joi.object({
          name: joi
            .string()
            .required()
            .max(256)
            .meta(meta({ allowed: '1 to 256 characters' }))
            .description('A name for people; no response contains it.'),
          token: token().required().description('The token, or its SHA-256.'),
          rights: joi
            .array()
            .items(joi.string().valid(...apiRights))
            .min(1)
            .unique()
            .required()
            .meta(meta({ allowed: `a list of ${apiRights.map((right) => `\`${right}\``).join(', ')}` }))
            .description(
              '`topics`: create, list, change, empty and delete topics, and issue their tokens. `publish` and `subscribe`: publish and subscribe to any topic. `metrics`: read the metrics.',
            ),
        }),
      )
      .unique('name')
      .max(1_000)
      .default([])
      .meta(meta({ allowed: 'a list of at most 1000 sections with `name`, `token` and `rights`', defaultText: '[]' }))
      .description('Further tokens, with fewer rights than `pubsub.apiAccessToken`, which has all of them.'),
    tickFrequency: duration(100, 5 * MINUTE_MS)
      .default(4 * SECOND_MS)
      .description('A stream that has been silent for this long gets a comment, so that proxies keep it open.'),
    ticketLifetime: duration(SECOND_MS, HOUR_MS)
      .default(2 * MINUTE_MS)
      .description('How soon a ticket must be used for the first time.'),
    idempotencyWindow: duration(SECOND_MS, 24 * HOUR_MS)
      .default(2 * MINUTE_MS)
      .description(
        'If a request with an `Idempotency-Key`, or an event with `dedupe`, is published again within this time, it gets the same answer as the first time, and nothing is published.',
      ),
    maxDurationForSubscriberToReceive: unneeded(
      'a slow subscriber loses nothing here: it catches up from the log; see server.writeTimeout',
    ),
    staticPubSubs: joi
      .array()
      .items(
        joi.object({
          id: joi
            .string()
            .required()
            .custom((text: string, helpers) => parseTopicId(text) ?? helpers.error('any.invalid'))
            .meta(meta({ allowed: '1 to 11 base62 characters (0-9, A-Z, a-z) of a number from 1 to 2^63 - 1' }))
            .description(
              'The topic’s id. A shorter form stands for the same id padded with leading zeros. A number without quotation marks, such as `12`, is decimal, as in the original; `"12"` is an id in base62, as in the API.',
            ),
          name: joi
            .string()
            .required()
            .max(256)
            .meta(meta({ allowed: '1 to 256 characters' }))
            .description('A name for people; no response contains it.'),
          token: token().required().description('Subscribes to this topic.'),
        }),
      )
      .unique('id')
      .max(10_000)
      .default([])
      .meta(meta({ allowed: 'a list of at most 10000 sections with `id`, `name` and `token`', defaultText: '[]' }))
      .description('Topics that always exist, kept in memory. Clients can neither create nor delete them.'),
  })
  .default()
  .description('Tokens, the heartbeat, and topics defined in the configuration.')

const kvSchema = joi
  .object({
    enabled: flag()
      .default(true)
      .meta(meta({ environment: 'SSER_PERSISTENT_STORE_ENABLED' }))
      .description(
        'Whether there is a persistent store. Without it, no topic and no event is written to disk, and creating a topic with `persist: true` gets a 400.',
      ),
    dsn: unneeded(
      'the store is a log in the folder given by storage.directory; topics in the original’s store are not imported: create them anew, or list them in pubsub.staticPubSubs',
    ).meta(meta({ secret: true })),
  })
  .default()
  .description('The persistent store, under its name in the original.')

const storageSchema = joi
  .object({
    directory: joi
      .string()
      .default('./_storage')
      .meta(
        meta({
          environment: 'SSER_STORAGE_DIR',
          allowed: 'a folder; a relative path starts from the server’s working directory',
        }),
      )
      .description(
        'The folder for the log, and for the tokens that the server generates. Created if missing, with access for its owner only.',
      ),
  })
  .default()
  .description('Where the data is kept.')

const logSchema = joi
  .object({
    sync: joi
      .string()
      .valid('commit', 'interval', 'never')
      .default('commit')
      .description(
        '`commit`: a publisher gets its answer once its event is on disk; nothing acknowledged is lost, even in a power failure. `interval`: the log is synced every `log.syncInterval`; a crash of the process loses nothing, but a power failure or kernel crash loses up to that much time’s worth of acknowledged events. `never`: the operating system decides when to write; a power failure or kernel crash loses the acknowledged events of some 30 seconds, or more.',
      ),
    syncInterval: duration(10, MINUTE_MS)
      .default(SECOND_MS)
      .description('How often the log is synced if `log.sync` is `interval`.'),
    segmentBytes: bytes(64 * KIB_BYTES, GIB_BYTES)
      .default(32 * MIB_BYTES)
      .description('The log continues in a new file when the current one reaches this size.'),
    batchBytesMax: bytes(64 * KIB_BYTES, 64 * MIB_BYTES)
      .default((_parent: unknown, helpers: Joi.CustomHelpers) => defaultBatchBytes(helpers))
      .meta(meta({ defaultText: '8MiB, or as much as `server.maxRequestBodySize` needs' }))
      .description('Maximum number of bytes written and synced in one go.'),
    pendingBytesMax: bytes(MIB_BYTES, 4 * GIB_BYTES)
      .default(64 * MIB_BYTES)
      .description(
        'When this many bytes of events are waiting for the disk, further publishers get a 503 until it has caught up.',
      ),
    readCacheBytes: bytes(MIB_BYTES, 64 * GIB_BYTES)
      .default(16 * MIB_BYTES)
      .description('Memory for recently read parts of the log, shared by subscribers that are catching up.'),
    indexCacheBytes: bytes(256 * KIB_BYTES, 64 * GIB_BYTES)
      .default(4 * MIB_BYTES)
      .description('Memory for recently read parts of the indexes.'),
    reserve: flag()
      .default(true)
      .description(
        'Reserves a file about as large as a segment, whose space is released when the disk is full, so that topics can still be deleted.',
      ),
    maxBytes: bytes(MIB_BYTES, 1024 * 1024 * GIB_BYTES)
      .default(16 * GIB_BYTES)
      .description(
        'The total size of the log’s files is limited to about this much. Above three quarters of it, the fuller the log, the sooner dropped events are removed from its files.',
      ),
    whenFull: joi
      .string()
      .valid('refuse', 'dropOldest')
      .default('refuse')
      .description(
        'What happens at `log.maxBytes`. `refuse`: publishers get a 507 until topics are deleted or emptied, or limits drop something. `dropOldest`: the oldest events are dropped, whatever their topic; subscribers that have not read them yet get an `sser.gap`.',
      ),
    checkpointInterval: duration(SECOND_MS, 24 * HOUR_MS)
      .default(5 * MINUTE_MS)
      .description(
        'How often the state of all topics is written to a file, so that a start has to read little of the log.',
      ),
    compaction: joi
      .object({
        enabled: flag()
          .default(true)
          .description(
            'Whether old parts of the log are rewritten without dropped events, and grouped by topic. Otherwise, the log only grows.',
          ),
        interval: duration(SECOND_MS, 24 * HOUR_MS)
          .default(30 * SECOND_MS)
          .description('How often to look for something worth rewriting.'),
        bytesPerSecond: bytes(64 * KIB_BYTES, 64 * GIB_BYTES)
          .default(16 * MIB_BYTES)
          .description('Maximum number of bytes per second that compaction reads and writes, together.'),
        deadShare: joi
          .number()
          .min(0.01)
          .max(1)
          .default(0.5)
          .meta(meta({ allowed: 'a number from 0.01 to 1' }))
          .description('A part of the log is rewritten when this share of it has been dropped.'),
      })
      .default()
      .description('Rewriting old parts of the log.'),
  })
  .default()
  .description('The durable log of persistent topics.')

const retentionSchema = joi
  .object({
    maxAge: duration(1, 100 * 365 * 24 * HOUR_MS)
      .meta(meta({ defaultText: 'none' }))
      .description('Events older than this are dropped.'),
    maxBytes: bytes(1, Number.MAX_SAFE_INTEGER)
      .meta(meta({ defaultText: 'none' }))
      .description('The oldest events are dropped while a topic has more bytes than this.'),
    maxEvents: count(1, Number.MAX_SAFE_INTEGER)
      .meta(meta({ defaultText: 'none' }))
      .description('The oldest events are dropped while a topic has more events than this.'),
  })
  .default()
  .description('Limits of topics that are created without limits of their own.')

const memorySchema = joi
  .object({
    maxBytes: bytes(MIB_BYTES, 64 * GIB_BYTES)
      .default(64 * MIB_BYTES)
      .description(
        'Memory shared by the events of all topics that are not persistent. Beyond it the oldest are dropped, and a subscriber that has not read them yet gets an `sser.gap`.',
      ),
  })
  .default()
  .description('The in-memory log of topics that are not persistent.')

const hubSchema = joi
  .object({
    recentFramesBytes: bytes(0, 4 * GIB_BYTES)
      .default(8 * MIB_BYTES)
      .description(
        'Memory for the latest events, ready to send, so that many clients reconnecting at once do not each read the disk.',
      ),
  })
  .default()
  .description('Delivery to subscribers.')

const limitsSchema = joi
  .object({
    topicsMax: count(1, 10_000_000)
      .default(100_000)
      .description('Maximum number of topics; creating another gets an error.'),
    subscribersMax: count(1, 1_000_000)
      .default(50_000)
      .description('Maximum number of streams at a time; a client that opens another is asked to come back later.'),
    connectionsPerAddressMax: count(1, 1_000_000)
      .default(1_000)
      .description(
        'Maximum number of connections from one address (for IPv6: from one /64). Connections from this machine itself and from `server.trustedProxies` are not counted.',
      ),
    streamsPerTopicMax: count(1, 1_000_000).description(
      'Maximum number of streams of one topic at a time. Without it, only the limit on all streams applies.',
    ),
    streamsPerTokenMax: count(1, 1_000_000).description(
      'Maximum number of streams opened with one token at a time. Without it, only the limit on all streams applies: all subscribers of a topic may share one token.',
    ),
    eventsPerSecondPerTokenMax: count(1, 10_000_000).description(
      'Maximum number of events per second published with one token; a second’s worth may come at once. Without it, as many as the log takes.',
    ),
    eventIdBytesMax: count(1, 256)
      .default(256)
      .description('The longest id that a publisher may give an event, in bytes of UTF-8.'),
    eventTypeBytesMax: count(1, 1024).default(256).description('The longest event type, in bytes of UTF-8.'),
    eventsPerRequestMax: count(1, 100_000)
      .default(10_000)
      .description(
        'Maximum number of events in one request that publishes a list; more get a 413. `server.maxRequestBodySize` limits the list as well.',
      ),
    tokensPerTopicMax: count(1, 10_000).default(100).description('Maximum number of further tokens of one topic.'),
    ticketsMax: count(1, 10_000_000)
      .default(50_000)
      .description('Maximum number of tickets that can be used or are in use at a time.'),
    idempotencyKeysMax: count(1, 10_000_000)
      .default(100_000)
      .description(
        'How many recent idempotency keys, of requests and of events, are remembered, at about 300 bytes each. Beyond that the oldest are forgotten, even within `pubsub.idempotencyWindow`.',
      ),
    wrongTokensMax: count(1, 1_000_000)
      .default(10)
      .description(
        'How many wrong tokens from one address (for IPv6: from one /64) are answered at once. From then on the address has to wait after each one, for one second at first and twice as long each time; meanwhile, tokens that were not accepted from there before get a 429.',
      ),
    wrongTokenWaitMax: duration(SECOND_MS, HOUR_MS)
      .default(5 * MINUTE_MS)
      .description('The longest that an address has to wait after a wrong token.'),
    throttledClientsMax: count(1, 10_000_000)
      .default(20_000)
      .description(
        'For how many addresses the server remembers the number of wrong tokens, and how many accepted tokens it remembers with their address. The oldest are forgotten first.',
      ),
    historyEventsMax: count(1, 100_000)
      .default(1_000)
      .description('Maximum number of events in one page of a topic’s history.'),
    topicsPerStreamMax: count(1, 1_000).default(100).description('Maximum number of topics in one stream.'),
  })
  .default()
  .description('Limits on numbers, sizes and waiting times.')

const metricsSchema = joi
  .object({
    openLocally: flag()
      .default(true)
      .description(
        'Whether `GET /metrics` needs no token if the request comes from this machine itself: from a loopback address, to a loopback name, and without a trace of a proxy.',
      ),
  })
  .default()
  .description('Metrics for Prometheus.')

const loggingSchema = joi
  .object({
    level: joi
      .string()
      .valid('debug', 'info', 'warn', 'error', 'silent')
      .default('info')
      .meta(meta({ environment: 'SSER_LOG_LEVEL' }))
      .description('Logs this level and the ones after it.'),
  })
  .default()
  .description('The server’s own log: one line per event, as JSON, or as plain text on a terminal.')

// The order matters: the default of log.batchBytesMax depends on server.maxRequestBodySize, which is validated before it.
export const rootSchema = joi.object({
  server: serverSchema,
  pubsub: pubsubSchema,
  kv: kvSchema,
  storage: storageSchema,
  log: logSchema,
  retention: retentionSchema,
  memory: memorySchema,
  hub: hubSchema,
  limits: limitsSchema,
  metrics: metricsSchema,
  logging: loggingSchema,
  app: unneeded(
    'the program knows its name and version, and server.shutdownGrace sets how long a stop may take',
    joi.any(),
  ),
  idgen: unneeded('ids are numbers given by the log', joi.any()),
})

/** Relations between settings: the key to blame, the other keys involved, the words, and the check. */
export interface SettingRelation {
  readonly key: string
  readonly others: readonly string[]
  readonly words: string
  readonly holds: (settings: Settings) => boolean
}

export const settingRelations: readonly SettingRelation[] = [
  {
    key: 'server.ssl.keyFile',
    others: ['server.ssl.certFile'],
    words: 'both `server.ssl.certFile` and `server.ssl.keyFile`, or neither',
    holds: ({ server: { ssl } }) => (ssl.certFile === undefined) === (ssl.keyFile === undefined),
  },
  {
    key: 'server.ssl.acme.externalAccount.hmacKey',
    others: ['server.ssl.acme.externalAccount.keyId'],
    words: 'both `server.ssl.acme.externalAccount.keyId` and `server.ssl.acme.externalAccount.hmacKey`, or neither',
    holds: ({ server: { ssl } }) => {
      const { keyId, hmacKey } = ssl.acme.externalAccount
      return (keyId === undefined) === (hmacKey === undefined)
    },
  },
  {
    key: 'server.sslAddr',
    others: ['server.ssl.enabled', 'server.addr'],
    words: 'a port other than that of `server.addr`',
    holds: ({ server }) => !server.ssl.enabled || server.addr.port === 0 || server.addr.port !== server.sslAddr.port,
  },
  {
    key: 'server.proxyProtocol',
    others: ['server.trustedProxies'],
    words: '`false`, as long as `server.trustedProxies` names no proxy: such a header is accepted from nobody else',
    holds: ({ server }) => !server.proxyProtocol || server.trustedProxies.length > 0,
  },
  {
    key: 'log.batchBytesMax',
    others: ['server.maxRequestBodySize'],
    words: 'at least `server.maxRequestBodySize` plus 64KiB, so that any event fits into a batch',
    holds: ({ log, server }) => log.batchBytesMax >= recordBytesMaxOf(server.maxRequestBodySize),
  },
  {
    key: 'log.pendingBytesMax',
    others: ['log.batchBytesMax'],
    words: 'at least `log.batchBytesMax`',
    holds: ({ log }) => log.pendingBytesMax >= log.batchBytesMax,
  },
  {
    key: 'log.maxBytes',
    others: ['log.segmentBytes'],
    words: 'at least four times `log.segmentBytes`, so that there is something to drop besides the newest part',
    holds: ({ log }) => log.maxBytes >= 4 * log.segmentBytes,
  },
  {
    key: 'memory.maxBytes',
    others: ['server.maxRequestBodySize'],
    words: 'at least twice `server.maxRequestBodySize` plus 128KiB, so that any event fits into it',
    holds: ({ memory, server }) => memory.maxBytes >= 2 * recordBytesMaxOf(server.maxRequestBodySize),
  },
]

/**
 * The names to order a certificate for. A private authority may know `.test` and `.local`, the usual one cannot; nobody vouches
 * for localhost, and the usual one does not for addresses.
 */
export function namesToOrder({ domainName = [], certFile, acme }: Settings['server']['ssl']): readonly string[] {
  if (certFile !== undefined) return []
  const isOwn = acme.directoryUrl !== DEFAULT_ACME_DIRECTORY
  const reserved = isOwn ? /(?:^|\.)localhost$/ : /(?:^|\.)(?:test|local|localhost)$/
  return domainName.filter((name) => isIP(name) === 0 && (isOwn || name.includes('.')) && !reserved.test(name))
}

function defaultBatchBytes(helpers: Joi.CustomHelpers): number {
  const root: { readonly server?: { readonly maxRequestBodySize?: unknown } } = helpers.state.ancestors.at(-1)
  const size = root.server?.maxRequestBodySize
  return typeof size === 'number' ? Math.max(LOG_BATCH_BYTES_DEFAULT, recordBytesMaxOf(size)) : LOG_BATCH_BYTES_DEFAULT
}
