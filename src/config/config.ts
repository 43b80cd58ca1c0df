/**
 * Loads the configuration: `base.yaml`, overridden by the file of `APP_ENV`, with `${NAME:default}` substituted from the
 * environment, and a `.env` file that the real environment overrides. Promises a complete, frozen configuration, or a
 * ConfigError that lists every mistake at once. The allowed settings and all defaults are in the schema (schema.ts). Knows no
 * other part of the server, and writes nothing.
 */
import { createHash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { type Document, isMap, isScalar, isSeq, LineCounter, parseDocument, Scalar } from 'yaml'
import {
  type ConfigMistake,
  nearest,
  type RawSection,
  type RawValue,
  settingDescriptions,
  validateSettings,
} from './check.ts'
import { type Origin, Origins, placeOf, variableIn } from './origins.ts'
import { APP_ENVS, type AppEnv, recordBytesMaxOf, type Settings } from './schema.ts'
import { topicIdOfNumber } from './values.ts'

export type { ConfigMistake } from './check.ts'
export { type Origin, placeOf } from './origins.ts'
export type { AppEnv, LogLevel, LogSync, StaticPubSub } from './schema.ts'
export type { ListenAddress } from './values.ts'

/** The whole configuration, frozen. Folders are absolute; tokens are absent where the server has to make them. */
export interface Config extends Omit<Settings, 'log' | 'server'> {
  readonly appEnv: AppEnv
  readonly production: boolean
  readonly server: Settings['server'] & { readonly ssl: { readonly cacheDir: string } }
  /** `recordBytesMax`, the largest record that a publish can produce, follows from server.maxRequestBodySize. */
  readonly log: Settings['log'] & { readonly recordBytesMax: number }
}

export interface LoadedConfig {
  readonly config: Config
  /** What an operator should be told once at the start; sentences without secrets. */
  readonly notices: readonly string[]
  /** The files that were read, in the order in which they apply. */
  readonly files: readonly string[]
  /** Where the value of that key was found; undefined: nowhere, so its default applies. */
  originOf(key: string): Origin | undefined
  /** False for a text that contains a secret from the environment. */
  isShowable(text: string): boolean
}

export interface ConfigSource {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
}

/** The configuration is unusable. `mistakes` has all that were found; none of them reveals a secret. */
export class ConfigError extends Error {
  readonly code = 'CONFIG_INVALID'
  readonly mistakes: readonly ConfigMistake[]

  constructor(mistakes: readonly ConfigMistake[]) {
    const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`
    const lines = mistakes.map(({ key, found, allowed, origin }) => {
      const variable = settingDescriptions.find((setting) => setting.key === key)?.environment
      const place = origin === undefined || origin.file === key ? undefined : placeOf(origin)
      const where = `${variable === undefined ? '' : ` (environment variable ${variable})`}${place === undefined ? '' : `, ${place}`}`
      return `  ${key}${where}: found ${found}; allowed: ${allowed}.`
    })
    super(`The configuration has ${count}:\n${lines.join('\n')}`)
    this.name = 'ConfigError'
    this.mistakes = mistakes
  }
}

/** Environment variables that belong to no single setting. */
const OWN_VARIABLES = ['APP_ENV', 'SSER_CONFIG_DIR']
/** The correct spellings of variables that the original misspells. */
const ALIASES: Readonly<Record<string, string>> = { SSER_LETSENCRYPT_EMAIL: 'SSER_LETSENCYRPT_EMAIL' }
const REFERENCE_FORMS = ['NAME', 'NAME:default'].map((inner) => `\`\${${inner}}\``).join(' or ')
const TOKEN_CHARACTERS_MIN = 16
const PLACEHOLDER_TOKEN =
  /change[-_ ]?me|placeholder|password|default|example|secret|your(?![0-9A-Za-z])|your(own|api|access|metrics|token|key)/i
/** SHA-256 of the tokens shipped in the original's base.yaml: they look random, but are public. */
const PUBLISHED_TOKENS_SHA256: readonly string[] = [
  'f4b5f1b21c3191087d16ccdb379cfacda7fa4f962e9ed2933836343da65aaa6a',
  'e9c089efde16a19cc4c4499c449f8d9de9448c629951322bbf764fc3c6927046',
]
const PLACEHOLDER_DOMAIN = /(^|[.@])example(\.(com|org|net|edu))?$|^your|\.(example|invalid)$/i
const PLACEHOLDER_MAILBOX = /^(your|you@|user@|name@|email@|mail@|me@|admin@your)/i

/** Throws a ConfigError with all mistakes, and nothing else. */
export function loadConfig(source: ConfigSource): LoadedConfig {
  const load = new ConfigLoad(source)
  const appEnv = load.appEnv()
  const raw = load.readFiles(appEnv)
  load.fillFromEnvironment(raw)
  load.dropPlaceholders(raw)
  load.requireTokens(raw, appEnv)
  const settings = load.validate(raw)
  if (settings === undefined) throw new ConfigError(load.placedMistakes())
  load.noticeUnneeded(raw)
  load.noticeUnreadVariables()
  return {
    config: complete(settings, appEnv, source.cwd),
    notices: load.notices,
    files: load.files,
    originOf: load.originOf,
    isShowable: load.isShowable,
  }
}

/** The state of one run of loadConfig. */
class ConfigLoad {
  readonly mistakes: ConfigMistake[] = []
  readonly notices: string[] = []
  readonly files: string[] = []
  readonly #cwd: string
  readonly #given: ConfigSource['env']
  readonly #env: Readonly<Record<string, string | undefined>>
  readonly #origins = new Origins()
  readonly #namedVariables = new Set<string>()
  #dotEnvText = ''
  readonly #secretValues: readonly string[]

  constructor({ env, cwd }: ConfigSource) {
    this.#cwd = cwd
    this.#given = env
    this.#env = withAliases({ ...this.#readDotEnv(), ...definedOf(env) })
    this.#secretValues = Object.entries(this.#env).flatMap(([name, value]) =>
      /TOKEN|SECRET|PASSWORD/i.test(name) && value !== undefined && value.length >= 4 ? [value] : [],
    )
  }

  appEnv(): AppEnv {
    const text = this.#env['APP_ENV'] || 'development'
    const known = APP_ENVS.find((name) => name === text)
    // An unknown word must not silently mean "not production": it prevents the start. The rest is validated all the same.
    if (known === undefined) {
      this.mistakes.push({ key: 'APP_ENV', found: JSON.stringify(text), allowed: `one of ${APP_ENVS.join(', ')}` })
    }
    return known ?? 'development'
  }

  readFiles(appEnv: AppEnv): RawSection {
    const folder = this.#configFolder()
    if (folder === undefined) return {}
    const texts = [join(folder, 'base.yaml'), join(folder, `${appEnv}.yaml`)].map((path) => ({
      path,
      text: this.#readText(path),
    }))
    if (texts.every(({ text }) => text === undefined)) {
      this.notices.push(`There is neither a base.yaml nor a ${appEnv}.yaml in ${folder}; the defaults apply.`)
    }
    let raw = emptySection()
    for (const { path, text } of texts) if (text !== undefined) raw = merged(raw, this.#parse(path, text))
    return raw
  }

  /** A setting that no file states is read from its variable, so that a folder made for the original works here too. */
  fillFromEnvironment(raw: RawSection): void {
    for (const { key, environment } of settingDescriptions) {
      const text = environment === undefined ? undefined : this.#env[environment]
      if (!environment || !text || !putWhereMissing(raw, key.split('.'), text)) continue
      this.#origins.fromEnvironment(key, this.#variable(environment))
    }
  }

  /** Well-known values from public files count as missing. */
  dropPlaceholders(raw: RawSection): void {
    for (const name of ['apiAccessToken', 'metricsAccessToken']) {
      const token = textAt(raw, ['pubsub', name])
      if (token === undefined || !isPlaceholderToken(token)) continue
      take(raw, ['pubsub', name])
      this.notices.push(
        `pubsub.${name} is too short or a well-known placeholder, so it counts as missing. \`openssl rand -hex 32\` makes a good one.`,
      )
    }
    const domainName = textAt(raw, ['server', 'ssl', 'domainName'])
    if (domainName?.split(',').every((name) => PLACEHOLDER_DOMAIN.test(name.trim()))) {
      take(raw, ['server', 'ssl', 'domainName'])
    }
    const email = textAt(raw, ['server', 'ssl', 'letsencryptEmail'])
    if (email !== undefined && (PLACEHOLDER_DOMAIN.test(email) || PLACEHOLDER_MAILBOX.test(email))) {
      take(raw, ['server', 'ssl', 'letsencryptEmail'])
    }
    for (const name of ['staticPubSubs', 'apiTokens']) {
      const list = sectionAt(raw, ['pubsub'])?.[name]
      for (const [index, item] of (Array.isArray(list) ? list : []).entries()) {
        if (!isSection(item) || typeof item['token'] !== 'string' || !isPlaceholderToken(item['token'])) continue
        // A token made by the server could not be communicated to anyone, so this one has to be configured.
        this.mistakes.push({
          key: `pubsub.${name}[${index}].token`,
          found: 'a token that is too short or a well-known placeholder',
          allowed: 'a token of its own; `openssl rand -hex 32` makes one',
        })
      }
    }
  }

  requireTokens(raw: RawSection, appEnv: AppEnv): void {
    if (appEnv !== 'production') return
    for (const name of ['apiAccessToken', 'metricsAccessToken']) {
      const key = `pubsub.${name}`
      const environment = settingDescriptions.find((setting) => setting.key === key)?.environment
      if (sectionAt(raw, ['pubsub'])?.[name] !== undefined) continue
      this.mistakes.push({
        key,
        found: 'nothing, or a value that is too short or a well-known placeholder',
        allowed: `a token of your own, which production needs: set the environment variable ${environment}; \`openssl rand -hex 32\` makes one`,
      })
    }
  }

  validate(raw: RawSection): Settings | undefined {
    const { settings, mistakes } = validateSettings(raw, this.isShowable)
    const told = new Set(this.mistakes.map(({ key }) => key))
    this.mistakes.push(...mistakes.filter(({ key }) => !told.has(key)))
    return this.mistakes.length === 0 ? settings : undefined
  }

  /** The mistakes, each with its place. */
  placedMistakes(): ConfigMistake[] {
    return this.mistakes.map((mistake) => {
      const origin = mistake.origin ?? this.#origins.near(mistake.key)
      return origin === undefined ? mistake : { ...mistake, origin }
    })
  }

  readonly originOf = (key: string): Origin | undefined => this.#origins.of(key)

  readonly isShowable = (text: string): boolean => !this.#secretValues.some((secret) => text.includes(secret))

  noticeUnneeded(raw: RawSection): void {
    const keysByReason = new Map<string, string[]>()
    for (const { key, unneeded } of settingDescriptions) {
      if (unneeded === undefined || valueAt(raw, key.split('.')) === undefined) continue
      const keys = keysByReason.get(unneeded)
      if (keys === undefined) keysByReason.set(unneeded, [key])
      else keys.push(key)
    }
    for (const [reason, keys] of keysByReason) {
      const verb = keys.length === 1 ? 'is' : 'are'
      this.notices.push(`${listed(keys)} ${verb} accepted but not needed: ${reason}.`)
    }
  }

  /** A misspelt variable would otherwise be ignored silently. Names that are far from ours belong to others (Kubernetes). */
  noticeUnreadVariables(): void {
    const read = [
      ...OWN_VARIABLES,
      ...Object.keys(ALIASES),
      ...settingDescriptions.flatMap(({ environment }) => environment ?? []),
    ]
    for (const name of Object.keys(this.#env)) {
      if (!name.startsWith('SSER_') || read.includes(name) || this.#namedVariables.has(name)) continue
      const meant = nearest(name, read)
      if (meant !== undefined) this.notices.push(`The environment variable ${name} is not read; ${meant} is.`)
    }
  }

  #configFolder(): string | undefined {
    const given = this.#env['SSER_CONFIG_DIR']
    if (given) {
      const folder = resolve(this.#cwd, given)
      if (isFolder(folder)) return folder
      this.mistakes.push({ key: 'SSER_CONFIG_DIR', found: JSON.stringify(given), allowed: 'a folder that is there' })
      return undefined
    }
    const beside = join(this.#cwd, '_config')
    return isFolder(beside) ? beside : packageConfigFolder()
  }

  #readDotEnv(): Record<string, string | undefined> {
    const text = this.#readText(join(this.#cwd, '.env'))
    if (text === undefined) return {}
    this.#dotEnvText = text
    return { ...parseEnv(text) }
  }

  /** The environment of the process wins over the file. */
  #variable(name: string): Origin {
    if (this.#given[name] !== undefined || this.#dotEnvText === '') return { environment: name }
    return variableIn(join(this.#cwd, '.env'), this.#dotEnvText, name)
  }

  /** Undefined where the file does not exist, which is fine, or cannot be read, which is a mistake. */
  #readText(path: string): string | undefined {
    try {
      const text = readFileSync(path, 'utf8')
      this.files.push(path)
      return text
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
      this.mistakes.push({ key: path, found: `a file that cannot be read (${code})`, allowed: 'a readable text file' })
      return undefined
    }
  }

  #parse(path: string, text: string): RawSection {
    const lineCounter = new LineCounter()
    // Failsafe: every value stays the text in the file, so that an id like 1e5 is not taken for a number.
    const document = parseDocument(text, { schema: 'failsafe', prettyErrors: false, lineCounter, logLevel: 'silent' })
    for (const error of document.errors) {
      // The parser's own message may quote the file, and with it a secret.
      const { line, col } = lineCounter.linePos(error.pos[0])
      const words = error.code.toLowerCase().replaceAll('_', ' ')
      this.mistakes.push({
        key: path,
        found: `wrong YAML at line ${line}, column ${col} (${words})`,
        allowed: 'YAML 1.2',
        origin: { file: path, line },
      })
    }
    if (document.errors.length > 0) return emptySection()
    this.#origins.beginFile(path, document, lineCounter)
    this.#readPlainIds(document)
    const content: unknown = this.#contentOf(document, path)
    if (content === undefined || content === null || content === '') return emptySection()
    if (typeof content === 'object' && !Array.isArray(content)) return this.#replacedSection(content, '')
    this.mistakes.push({ key: path, found: 'a list or a text', allowed: 'sections with keys' })
    return emptySection()
  }

  /**
   * An unquoted number is a number, not an id as on the wire: the original reads `id: 12` as twelve, whose id is C. The quotes are
   * no longer visible in what follows.
   */
  #readPlainIds(document: Document.Parsed): void {
    const topics = document.getIn(['pubsub', 'staticPubSubs'])
    for (const topic of isSeq(topics) ? topics.items : []) {
      const id = isMap(topic) ? topic.get('id', true) : undefined
      if (!isScalar(id) || id.type !== Scalar.PLAIN) continue
      id.value = topicIdOfNumber(this.#replacedText(String(id.value), 'pubsub.staticPubSubs[].id')) ?? id.value
    }
  }

  #contentOf(document: { toJS(): unknown }, path: string): unknown {
    try {
      const content = document.toJS()
      // Throws for an alias of something that contains it, which would never end.
      JSON.stringify(content)
      return content
    } catch (error) {
      // Dangling aliases, or aliases that multiply without bound; the message names the alias at most.
      const isAlias = error instanceof ReferenceError || error instanceof TypeError
      const words = isAlias ? 'an alias that cannot be followed' : 'content that cannot be used'
      this.mistakes.push({ key: path, found: words, allowed: 'YAML 1.2 with few aliases' })
      return undefined
    }
  }

  #replacedSection(content: object, path: string): RawSection {
    const section = emptySection()
    for (const [name, value] of Object.entries(content)) {
      const replaced = this.#replaced(value, path === '' ? name : `${path}.${name}`)
      if (replaced !== undefined) section[name] = replaced
    }
    return section
  }

  /** Undefined for an empty text, in the file or after substitution. */
  #replaced(value: unknown, path: string): RawValue | undefined {
    const replaced = this.#replacedValue(value, path)
    if (replaced !== undefined) this.#origins.stated(path)
    return replaced
  }

  #replacedValue(value: unknown, path: string): RawValue | undefined {
    if (Array.isArray(value)) {
      return value.map((item: unknown, index) => this.#replaced(item, `${path}[${index}]`) ?? '')
    }
    if (typeof value === 'object' && value !== null) return this.#replacedSection(value, path)
    return this.#replacedText(String(value ?? ''), path) || undefined
  }

  /** `${NAME:default}`: the variable's value, or, where it is unset or empty, what follows the first colon. */
  #replacedText(text: string, path: string): string {
    return text.replaceAll(/\$\{([^}]*)(\}?)/g, (_whole, inner: string, end: string) => {
      const [, name, fallback] = /^([A-Za-z_][A-Za-z0-9_]*)(?::(.*))?$/s.exec(inner) ?? []
      if (name === undefined || end === '') {
        this.mistakes.push({
          key: path,
          found: 'a reference that cannot be read',
          allowed: REFERENCE_FORMS,
          origin: this.#origins.here(path),
        })
        return ''
      }
      this.#namedVariables.add(name)
      return this.#env[name] || (fallback ?? '')
    })
  }
}

function complete(settings: Settings, appEnv: AppEnv, cwd: string): Config {
  const directory = resolve(cwd, settings.storage.directory)
  const cacheDir = resolve(cwd, settings.server.ssl.cacheDir ?? join(directory, 'certificates'))
  const { certFile, keyFile, acme } = settings.server.ssl
  const { trustedFile } = acme
  const files = {
    ...(certFile !== undefined && { certFile: resolve(cwd, certFile) }),
    ...(keyFile !== undefined && { keyFile: resolve(cwd, keyFile) }),
    acme: Object.freeze({ ...acme, ...(trustedFile !== undefined && { trustedFile: resolve(cwd, trustedFile) }) }),
  }
  const recordBytesMax = recordBytesMaxOf(settings.server.maxRequestBodySize)
  return Object.freeze({
    ...settings,
    appEnv,
    production: appEnv === 'production',
    server: Object.freeze({ ...settings.server, ssl: Object.freeze({ ...settings.server.ssl, ...files, cacheDir }) }),
    storage: Object.freeze({ directory }),
    log: Object.freeze({ ...settings.log, recordBytesMax }),
  })
}

/**
 * Whether others may know or guess the token: shorter than 16 characters, or containing a word from examples. A random token of
 * letters and digits contains such a word once in a million.
 */
function isPlaceholderToken(token: string): boolean {
  return token.length < TOKEN_CHARACTERS_MIN || PLACEHOLDER_TOKEN.test(token) || isPublished(token)
}

/** Even if given as a hash, which admits whoever knows the token. */
function isPublished(token: string): boolean {
  const sha256 = token.startsWith('sha256:') ? token.slice(7) : createHash('sha256').update(token).digest('hex')
  return PUBLISHED_TOKENS_SHA256.includes(sha256)
}

/** `a`, `a and b`, `a, b and c`. */
function listed(names: readonly string[]): string {
  const last = names.at(-1) ?? ''
  return names.length < 2 ? last : `${names.slice(0, -1).join(', ')} and ${last}`
}

/** The package's own folder, from src/config/ as well as from dist/src/config/. */
function packageConfigFolder(): string | undefined {
  const candidates = ['../../config', '../../../config'].map((path) => fileURLToPath(new URL(path, import.meta.url)))
  return candidates.find(isFolder)
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function withAliases(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  const all = { ...env }
  for (const [alias, name] of Object.entries(ALIASES)) all[name] ||= all[alias]
  return all
}

function definedOf(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined))
}

/** Without a prototype, so that no key in a file can mean anything but itself. */
function emptySection(): RawSection {
  return Object.create(null)
}

function isSection(value: RawValue | undefined): value is RawSection {
  return typeof value === 'object' && !Array.isArray(value)
}

/** `over` wins; sections are merged, lists are replaced. */
function merged(base: RawSection, over: RawSection): RawSection {
  const result = Object.assign(emptySection(), base)
  for (const [name, value] of Object.entries(over)) {
    const below = result[name]
    result[name] = isSection(below) && isSection(value) ? merged(below, value) : value
  }
  return result
}

function sectionAt(raw: RawSection, path: readonly string[]): RawSection | undefined {
  let section: RawValue | undefined = raw
  for (const name of path) section = isSection(section) ? section[name] : undefined
  return isSection(section) ? section : undefined
}

function valueAt(raw: RawSection, path: readonly string[]): RawValue | undefined {
  return sectionAt(raw, path.slice(0, -1))?.[path.at(-1) ?? '']
}

function textAt(raw: RawSection, path: readonly string[]): string | undefined {
  const value = valueAt(raw, path)
  return typeof value === 'string' ? value : undefined
}

function take(raw: RawSection, path: readonly string[]): void {
  const section = sectionAt(raw, path.slice(0, -1))
  if (section !== undefined) delete section[path.at(-1) ?? '']
}

/** Sets the text at the path; false where the path already has a value, or is blocked by something that is not a section. */
function putWhereMissing(raw: RawSection, path: readonly string[], text: string): boolean {
  let section = raw
  for (const name of path.slice(0, -1)) {
    const below = section[name] ?? emptySection()
    if (!isSection(below)) return false
    section[name] = below
    section = below
  }
  const name = path.at(-1) ?? ''
  if (section[name] !== undefined) return false
  section[name] = text
  return true
}
