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
          '16 to 512 visible ASCII characters without a space; or `sha256:` and the SHA-256 of the token, 64 digits of lower-case hex',
      }),
    )

/** Known from the original; accepted, reported once at the start, and without effect here. */
const unneeded = (why: string, values: Joi.Schema = joi.string()) =>
  values.meta(meta({ allowed: 'anything', unneeded: why }))
const ofItsHttpLibrary = () => unneeded('it sets what only the HTTP library of the original has')

const apiRights = ['topics', 'publish', 'subscribe', 'metrics'] as const

const file = (environment: string) =>
  joi
    .string()
    .meta(meta({ environment, allowed: 'a file; a relative one is sought from where the server was started' }))

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
        'The authority that certificates are ordered from. Who lets the server order agrees to its terms. For trying out: `https://acme-staging-v02.api.letsencrypt.org/directory`, whose certificates no browser trusts.',
      ),
    keyType: joi
      .string()
      .valid('P-256', 'RSA')
      .default('P-256')
      .description('The kind of key that certificates are ordered for; RSA, of 2048 bits, for very old clients.'),
    preferredChain: joi
      .string()
      .max(256)
      .meta(meta({ allowed: 'the common name of an authority' }))
      .description('Of several chains of certificates the one that has this issuer is shown.'),
    trustedFile: joi
      .string()
      .meta(meta({ allowed: 'a file; a relative one is sought from where the server was started' }))
      .description(
        'Certificates in PEM of who vouches for the directory, in the place of the usual ones: for an authority of your own.',
      ),
    externalAccount: joi
      .object({
        keyId: joi
          .string()
          .max(512)
          .meta(meta({ allowed: '1 to 512 characters' }))
          .description('The id of the key that the authority has given you.'),
        hmacKey: joi
          .string()
          .pattern(/^[A-Za-z0-9_-]{16,1024}={0,2}$/)
          .meta(meta({ secret: true, allowed: 'the key in base64url, 16 to 1024 characters' }))
          .description('That key.'),
      })
      .default()
      .description('Where an authority wants an account that was made with it before (external account binding).'),
    retryFirst: duration(100, HOUR_MS)
      .default(2 * MINUTE_MS)
      .description(
        'How long after a first failure the next order is tried; behind each further one three times as long, and never sooner than the authority asks.',
      ),
    retryMax: duration(SECOND_MS, 7 * 24 * HOUR_MS)
      .default(24 * HOUR_MS)
      .description('At most so long is waited between two orders.'),
  })
  .default()
  .description('The order of certificates, for names that nobody at this machine can vouch for.')

const sslSchema = joi
  .object({
    enabled: flag()
      .default(false)
      .meta(meta({ environment: 'SSER_SSL_ENABLED' }))
      .description(
        'HTTPS by the server itself, over HTTP/2 and HTTP/1.1. The certificate is that of `server.ssl.certFile`; without one, the domain decides: for none, localhost, an address, and names below `.test` and `.local`, the server makes one for itself, for others it orders one.',
      ),
    domainName: joi
      .string()
      .custom((text: string, helpers) => parseHosts(text) ?? helpers.error('any.invalid'))
      .meta(
        meta({
          environment: 'SSER_DOMAIN_NAME',
          allowed: 'a host name or an address, or several, by commas; `example.com` counts as missing',
        }),
      )
      .description(
        'What the certificate has to be for. The first one is the main name. An address has no certificate ordered for it.',
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
        'Whom the authority may write to; it can be left out. The variable is spelled as the original spells it; `SSER_LETSENCRYPT_EMAIL` is read, too.',
      ),
    certFile: file('SSER_SSL_CERT_FILE').description(
      'The certificate in PEM, with those of the authorities behind it. Looked at every `server.ssl.checkInterval`; a new one is shown without a restart.',
    ),
    keyFile: file('SSER_SSL_KEY_FILE').description('Its key in PEM, not encrypted.'),
    cacheDir: joi
      .string()
      .meta(meta({ allowed: 'a folder', defaultText: 'the folder `certificates` in `storage.directory`' }))
      .description(
        'Where certificates are kept that the server has ordered or made for itself, and the key of its account. Several servers may share it.',
      ),
    checkInterval: duration(100, 24 * HOUR_MS)
      .default(10 * SECOND_MS)
      .description('How often is looked for a new certificate.'),
    acme: acmeSchema,
    handshakeTimeout: duration(SECOND_MS, 2 * MINUTE_MS)
      .default(10 * SECOND_MS)
      .description('A connection that has not agreed on keys within this time is cut off.'),
    streamsPerConnectionMax: count(1, 10_000)
      .default(250)
      .description('At most so many streams and requests at once on one connection of HTTP/2.'),
    // Below the 1000 at which nghttp2 itself hears no more.
    streamResetsMax: count(10, 900)
      .default(500)
      .description(
        'A connection of HTTP/2 on which so many requests and streams at once are taken back, or are such as are refused unread, is cut off; each second a tenth of it is allowed again. A page that is closed takes back all its streams.',
      ),
    strictTransport: duration(0, 2 * 365 * 24 * HOUR_MS)
      .default(0)
      .description(
        'How long browsers that were here once ask for HTTPS by themselves (HSTS); they are told over HTTPS only, that of a trusted proxy included. 0: not at all. They cannot be told otherwise before that time is over: begin with a short one.',
      ),
  })
  .default()
  .description('HTTPS by the server itself.')

const serverSchema = joi
  .object({
    addr: address(':8889')
      .meta(meta({ environment: 'PORT' }))
      .description(
        'Where the server listens for HTTP. With `server.ssl.enabled` this port only sends to the other one.',
      ),
    sslAddr: address(':8888')
      .meta(meta({ environment: 'SSLPORT' }))
      .description('Where the server listens for HTTPS, with `server.ssl.enabled`.'),
    idleTimeout: duration(SECOND_MS, 24 * HOUR_MS)
      .default(1800 * SECOND_MS)
      .description('A connection that was kept alive and brings no further request is closed after this time.'),
    readTimeout: duration(SECOND_MS, 10 * MINUTE_MS)
      .default(15 * SECOND_MS)
      .description(
        'A request whose headers have not arrived within this time, or whose body falls silent for it, gets a 408.',
      ),
    writeTimeout: duration(100, HOUR_MS)
      .default(60 * SECOND_MS)
      .description(
        'A subscriber whose connection accepts nothing at all for this time is disconnected. One that is merely slow is not: it catches up from the log.',
      ),
    maxRequestBodySize: bytes(KIB_BYTES, 16 * MIB_BYTES)
      .default(MIB_BYTES)
      .description('A request body above this size gets a 413 before it has been read whole.'),
    maxStreamAge: duration(100, 24 * HOUR_MS)
      .default(HOUR_MS)
      .description(
        'A stream is ended between two events at this age, shortened by chance by up to a fifth so that not all end at once. Clients resume by themselves, without loss.',
      ),
    shutdownGrace: duration(100, 10 * MINUTE_MS)
      .default(10 * SECOND_MS)
      .description('How long a stop may take to answer what is in flight and to end the streams.'),
    retry: duration(100, 5 * MINUTE_MS)
      .default(2 * SECOND_MS)
      .description(
        'How long clients are told to wait before they reconnect (`retry:` of the stream); each gets a time of its own around this one.',
      ),
    sendBufferBytes: bytes(16 * KIB_BYTES, 64 * MIB_BYTES)
      .default(256 * KIB_BYTES)
      .description(
        'When more bytes than this wait in a subscriber’s connection, it stops getting live frames and catches up from the log as fast as it reads.',
      ),
    maxConnections: count(1, 1_000_000)
      .default(60_000)
      .description('Connections beyond this number are refused. Each takes a file descriptor: see `ulimit -n`.'),
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
      .description('The web origins whose pages may send credentials (cookies) along with a subscription.'),
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
        'The proxies in front of the server. Only from these are `X-Forwarded-For` and `X-Forwarded-Proto` believed: limits by address then count the client behind the proxy, and whom it has brought from HTTPS is not sent there.',
      ),
    proxyProtocol: flag()
      .default(false)
      .description(
        'Whether the proxies in `server.trustedProxies` hand on bytes, and begin each connection with a header of the PROXY protocol (version 1 or 2) that says whose it is. Then they have to, within `server.ssl.handshakeTimeout`, on both ports. Of all others it is believed nothing.',
      ),
    ssl: sslSchema,
  })
  .default()
  .description('Where the server listens, and what it grants one connection.')

const pubsubSchema = joi
  .object({
    apiAccessToken: token()
      .meta(meta({ environment: 'SSER_API_ACCESS_TOKEN' }))
      .description(
        'Creates and deletes topics and publishes. In production it must be given (`openssl rand -hex 32` makes one); elsewhere one is made at the first start and kept in the data folder.',
      ),
    metricsAccessToken: token()
      .meta(meta({ environment: 'SSER_METRICS_ACCESS_TOKEN' }))
      .description('Reads the metrics and subscribes to topic 0. Given, or made, like `pubsub.apiAccessToken`.'),
    apiTokens: joi
      .array()
      .items(
        joi.object({
          name: joi
            .string()
            .required()
            .max(256)
            .meta(meta({ allowed: '1 to 256 characters' }))
            .description('For people; it stands in no answer.'),
          token: token().required().description('The token, or its SHA-256.'),
          rights: joi
            .array()
            .items(joi.string().valid(...apiRights))
            .min(1)
            .unique()
            .required()
            .meta(meta({ allowed: `a list of ${apiRights.map((right) => `\`${right}\``).join(', ')}` }))
            .description(
              '`topics`: make, see, change, empty and delete topics, and issue their tokens. `publish` and `subscribe`: to and of all topics. `metrics`: read the figures.',
            ),
        }),
      )
      .unique('name')
      .max(1_000)
      .default([])
      .meta(meta({ allowed: 'a list of at most 1000 sections with `name`, `token` and `rights`', defaultText: '[]' }))
      .description('More tokens, with fewer rights than `pubsub.apiAccessToken`, which has all.'),
    tickFrequency: duration(100, 5 * MINUTE_MS)
      .default(4 * SECOND_MS)
      .description('A stream that was silent for this time gets a comment, so that proxies keep it open.'),
    ticketLifetime: duration(SECOND_MS, HOUR_MS)
      .default(2 * MINUTE_MS)
      .description('A ticket has to be used for the first time within this time.'),
    idempotencyWindow: duration(SECOND_MS, 24 * HOUR_MS)
      .default(2 * MINUTE_MS)
      .description(
        'A publish with an `Idempotency-Key`, or of an event with `dedupe`, that comes again within this time is answered as the first one was, and publishes nothing.',
      ),
    maxDurationForSubscriberToReceive: unneeded(
      'a slow subscriber loses nothing here, it catches up from the log; see server.writeTimeout',
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
              'The topic’s id. A shorter form means the same number as one with zeros in front. A number without quotation marks, such as `12`, is a decimal one, as in the original; `"12"` is an id as it travels.',
            ),
          name: joi
            .string()
            .required()
            .max(256)
            .meta(meta({ allowed: '1 to 256 characters' }))
            .description('A name for people; it stands in no answer.'),
          token: token().required().description('Subscribes to this topic.'),
        }),
      )
      .unique('id')
      .max(10_000)
      .default([])
      .meta(meta({ allowed: 'a list of at most 10000 sections with `id`, `name` and `token`', defaultText: '[]' }))
      .description('Topics that are always there, held in memory. Clients can neither create nor delete them.'),
  })
  .default()
  .description('Tokens, the heartbeat, and the topics that the configuration itself names.')

const kvSchema = joi
  .object({
    enabled: flag()
      .default(true)
      .meta(meta({ environment: 'SSER_PERSISTENT_STORE_ENABLED' }))
      .description(
        'Whether there is a persistent store. Where it is off no topic and no event is written to the disk, and creating a topic with `persist: true` gets a 400.',
      ),
    dsn: unneeded(
      'the store is a log in the folder that storage.directory names; topics of the original’s own store are not taken over: create them anew, or name them in pubsub.staticPubSubs',
    ).meta(meta({ secret: true })),
  })
  .default()
  .description('The persistent store, under the name that the original gave it.')

const storageSchema = joi
  .object({
    directory: joi
      .string()
      .default('./_storage')
      .meta(
        meta({
          environment: 'SSER_STORAGE_DIR',
          allowed: 'a folder; a relative one is sought from where the server was started',
        }),
      )
      .description(
        'Where the log and the tokens that the server made lie. Made where it is missing, for its owner only.',
      ),
  })
  .default()
  .description('Where the data lies.')

const logSchema = joi
  .object({
    sync: joi
      .string()
      .valid('commit', 'interval', 'never')
      .default('commit')
      .description(
        '`commit`: a publisher gets its answer when its event is on the disk; nothing that was acknowledged is lost, even when the power fails. `interval`: the log is synced every `log.syncInterval`; a crash of the process loses nothing, but when the power or the kernel fails, the acknowledged events of up to that long are lost. `never`: the operating system writes when it likes; when the power or the kernel fails, the acknowledged events of some 30 seconds, or more, are lost.',
      ),
    syncInterval: duration(10, MINUTE_MS)
      .default(SECOND_MS)
      .description('How often the log is synced where `log.sync` is `interval`.'),
    segmentBytes: bytes(64 * KIB_BYTES, GIB_BYTES)
      .default(32 * MIB_BYTES)
      .description('The log goes on in a new file when the current one has reached this size.'),
    batchBytesMax: bytes(64 * KIB_BYTES, 64 * MIB_BYTES)
      .default((_parent: unknown, helpers: Joi.CustomHelpers) => defaultBatchBytes(helpers))
      .meta(meta({ defaultText: '8MiB, or as much as `server.maxRequestBodySize` needs' }))
      .description('At most so many bytes are written and synced in one go.'),
    pendingBytesMax: bytes(MIB_BYTES, 4 * GIB_BYTES)
      .default(64 * MIB_BYTES)
      .description(
        'When so many bytes of events wait for the disk, further publishers get a 503 until it has caught up.',
      ),
    readCacheBytes: bytes(MIB_BYTES, 64 * GIB_BYTES)
      .default(16 * MIB_BYTES)
      .description('Memory for parts of the log that were read lately and are shared by those who catch up.'),
    indexCacheBytes: bytes(256 * KIB_BYTES, 64 * GIB_BYTES)
      .default(4 * MIB_BYTES)
      .description('Memory for parts of the indexes that were read lately.'),
    reserve: flag()
      .default(true)
      .description(
        'Keeps a file about as large as a segment aside, and gives its room back when the disk is full, so that topics can still be deleted.',
      ),
    maxBytes: bytes(MIB_BYTES, 1024 * 1024 * GIB_BYTES)
      .default(16 * GIB_BYTES)
      .description(
        'The files of the log together take at most about this much. From three quarters of it on, what is dropped is taken out of them sooner, the fuller they are.',
      ),
    whenFull: joi
      .string()
      .valid('refuse', 'dropOldest')
      .default('refuse')
      .description(
        'What happens at `log.maxBytes`. `refuse`: publishers get a 507 until topics are deleted or emptied, or limits drop something. `dropOldest`: the oldest events go, of whichever topic; readers that had not read them are told of the gap.',
      ),
    checkpointInterval: duration(SECOND_MS, 24 * HOUR_MS)
      .default(5 * MINUTE_MS)
      .description('How often the state of all topics is written to a file, so that a start reads little of the log.'),
    compaction: joi
      .object({
        enabled: flag()
          .default(true)
          .description(
            'Whether old parts of the log are rewritten, without what was dropped, and grouped by topic. Without it the log only grows.',
          ),
        interval: duration(SECOND_MS, 24 * HOUR_MS)
          .default(30 * SECOND_MS)
          .description('How often is looked for something worth rewriting.'),
        bytesPerSecond: bytes(64 * KIB_BYTES, 64 * GIB_BYTES)
          .default(16 * MIB_BYTES)
          .description('At most so many bytes are read and written for it, together.'),
        deadShare: joi
          .number()
          .min(0.01)
          .max(1)
          .default(0.5)
          .meta(meta({ allowed: 'a number from 0.01 to 1' }))
          .description('A part of the log is rewritten when this share of it is dropped.'),
      })
      .default()
      .description('Rewriting of old parts of the log.'),
  })
  .default()
  .description('The durable log of persistent topics.')

const retentionSchema = joi
  .object({
    maxAge: duration(1, 100 * 365 * 24 * HOUR_MS)
      .meta(meta({ defaultText: 'none' }))
      .description('Events that are older go.'),
    maxBytes: bytes(1, Number.MAX_SAFE_INTEGER)
      .meta(meta({ defaultText: 'none' }))
      .description('The oldest events go while a topic has more bytes than this.'),
    maxEvents: count(1, Number.MAX_SAFE_INTEGER)
      .meta(meta({ defaultText: 'none' }))
      .description('The oldest events go while a topic has more events than this.'),
  })
  .default()
  .description('Limits of topics that are made without limits of their own.')

const memorySchema = joi
  .object({
    maxBytes: bytes(MIB_BYTES, 64 * GIB_BYTES)
      .default(64 * MIB_BYTES)
      .description(
        'The events of all topics that are not persistent share so much memory; beyond it the oldest go, and a subscriber that had not read them yet is told of the gap.',
      ),
  })
  .default()
  .description('The log in memory, of topics that are not persistent.')

const hubSchema = joi
  .object({
    recentFramesBytes: bytes(0, 4 * GIB_BYTES)
      .default(8 * MIB_BYTES)
      .description(
        'The latest events, ready to send, are kept in so much memory, so that many clients that reconnect at once do not each read the disk.',
      ),
  })
  .default()
  .description('Delivery to subscribers.')

const limitsSchema = joi
  .object({
    topicsMax: count(1, 10_000_000)
      .default(100_000)
      .description('At most so many topics; creating one more gets an error.'),
    subscribersMax: count(1, 1_000_000)
      .default(50_000)
      .description('At most so many streams at once; one more is asked to come back later.'),
    connectionsPerAddressMax: count(1, 1_000_000)
      .default(1_000)
      .description(
        'At most so many connections from one address (of IPv6: from one /64). This machine itself and the peers in `server.trustedProxies` are not counted.',
      ),
    streamsPerTopicMax: count(1, 1_000_000).description(
      'At most so many streams of one topic at once. Without it, as many as there may be of all.',
    ),
    streamsPerTokenMax: count(1, 1_000_000).description(
      'At most so many streams at once that one token has opened. Without it, as many as there may be: all subscribers of a topic may share one token.',
    ),
    eventsPerSecondPerTokenMax: count(1, 10_000_000).description(
      'So many events a second may be published with one token; a second’s worth may come at once. Without it, as many as the log takes.',
    ),
    eventIdBytesMax: count(1, 256)
      .default(256)
      .description('The longest id that a publisher may give an event, in bytes of UTF-8.'),
    eventTypeBytesMax: count(1, 1024).default(256).description('The longest type of an event, in bytes of UTF-8.'),
    eventsPerRequestMax: count(1, 100_000)
      .default(10_000)
      .description(
        'At most so many events in one request that publishes a list of them; more get a 413. `server.maxRequestBodySize` bounds the list as well.',
      ),
    tokensPerTopicMax: count(1, 10_000).default(100).description('At most so many further tokens of one topic.'),
    ticketsMax: count(1, 10_000_000)
      .default(50_000)
      .description('At most so many tickets that can be used, or are in use, at once.'),
    idempotencyKeysMax: count(1, 10_000_000)
      .default(100_000)
      .description(
        'So many keys of what was published lately are remembered, of requests and of events, about 300 bytes each; the oldest are forgotten first, also within `pubsub.idempotencyWindow`.',
      ),
    wrongTokensMax: count(1, 1_000_000)
      .default(10)
      .description(
        'So many wrong tokens of one address (of IPv6: of one /64) are answered at once. Behind each further one it has to wait, from one second on twice as long each time; meanwhile tokens that were not right from there before get a 429.',
      ),
    wrongTokenWaitMax: duration(SECOND_MS, HOUR_MS)
      .default(5 * MINUTE_MS)
      .description('An address never has to wait longer than this behind a wrong token.'),
    throttledClientsMax: count(1, 10_000_000)
      .default(20_000)
      .description(
        'Of so many addresses it is remembered how many wrong tokens came from there, and so many tokens that were right are remembered with their address. The oldest are forgotten first.',
      ),
    historyEventsMax: count(1, 100_000)
      .default(1_000)
      .description('At most so many events in one page of a topic’s history.'),
    topicsPerStreamMax: count(1, 1_000).default(100).description('At most so many topics in one stream.'),
  })
  .default()
  .description('How many, and how long.')

const metricsSchema = joi
  .object({
    openLocally: flag()
      .default(true)
      .description(
        'Whether `GET /metrics` answers without a token where it is asked for on this machine itself: from a loopback address, by a loopback name, and without a trace of a proxy.',
      ),
  })
  .default()
  .description('Figures for Prometheus.')

const loggingSchema = joi
  .object({
    level: joi
      .string()
      .valid('debug', 'info', 'warn', 'error', 'silent')
      .default('info')
      .meta(meta({ environment: 'SSER_LOG_LEVEL' }))
      .description('What is logged: this level and the ones after it.'),
  })
  .default()
  .description('What the server says about itself: a line an event, as JSON, or for people on a terminal.')

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
    'the program knows its name and its version, and server.shutdownGrace says how long a stop may take',
    joi.any(),
  ),
  idgen: unneeded('ids are the numbers of the log', joi.any()),
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
    words: 'both `server.ssl.certFile` and `server.ssl.keyFile`, or none of them',
    holds: ({ server: { ssl } }) => (ssl.certFile === undefined) === (ssl.keyFile === undefined),
  },
  {
    key: 'server.ssl.acme.externalAccount.hmacKey',
    others: ['server.ssl.acme.externalAccount.keyId'],
    words:
      'both `server.ssl.acme.externalAccount.keyId` and `server.ssl.acme.externalAccount.hmacKey`, or none of them',
    holds: ({ server: { ssl } }) => {
      const { keyId, hmacKey } = ssl.acme.externalAccount
      return (keyId === undefined) === (hmacKey === undefined)
    },
  },
  {
    key: 'server.sslAddr',
    others: ['server.ssl.enabled', 'server.addr'],
    words: 'another port than that of `server.addr`',
    holds: ({ server }) => !server.ssl.enabled || server.addr.port === 0 || server.addr.port !== server.sslAddr.port,
  },
  {
    key: 'server.proxyProtocol',
    others: ['server.trustedProxies'],
    words: '`false`, as long as `server.trustedProxies` names no proxy: nobody else is believed such a header',
    holds: ({ server }) => !server.proxyProtocol || server.trustedProxies.length > 0,
  },
  {
    key: 'log.batchBytesMax',
    others: ['server.maxRequestBodySize'],
    words: 'at least `server.maxRequestBodySize` and 64KiB more, so that any event fits into a batch',
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
    words: 'at least four times `log.segmentBytes`, so that there is something to drop beside the newest part',
    holds: ({ log }) => log.maxBytes >= 4 * log.segmentBytes,
  },
  {
    key: 'memory.maxBytes',
    others: ['server.maxRequestBodySize'],
    words: 'at least twice `server.maxRequestBodySize` and 128KiB more, so that any event fits into it',
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
