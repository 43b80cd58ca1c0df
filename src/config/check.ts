/**
 * Validates a configuration against the schema, describes every mistake in words, and describes the schema, setting by setting,
 * for those messages and for the documentation. It reads no file and no environment, and never shows a secret's value.
 */
import assert from 'node:assert/strict'
import type Joi from 'joi'
import type { Origin } from './origins.ts'
import { rootSchema, type SettingMeta, type Settings, settingRelations } from './schema.ts'
import { formatBytes, formatDuration } from './values.ts'

const FOUND_CHARACTERS_MAX = 80

/** A value as files and environment supply it: text, or lists and sections of text. */
export type RawValue = string | RawValue[] | RawSection
export interface RawSection {
  [key: string]: RawValue
}

/** One setting as the schema describes it; the source of the documentation and the messages. */
export interface SettingDescription {
  /** Joi's word for it, such as `duration`. */
  readonly type: string
  /** Full path, `server.ssl.enabled`; an item of a list is `[]`: `pubsub.staticPubSubs[].id`. */
  readonly key: string
  readonly description: string
  /** The allowed values, in words. */
  readonly allowed: string
  /** As it would be written in YAML; undefined where there is none. */
  readonly defaultText: string | undefined
  readonly environment: string | undefined
  /** A secret's value is never shown. */
  readonly secret: boolean
  /** Known from the original and accepted, but without effect: why. */
  readonly unneeded: string | undefined
}

export interface SectionDescription {
  readonly key: string
  readonly description: string
}

/** One thing that is wrong with the configuration. */
export interface ConfigMistake {
  readonly key: string
  readonly found: string
  readonly allowed: string
  /** Where it was found; undefined where nothing is there. */
  readonly origin?: Origin
}

/** Joi's own description of a schema, as far as it is used here. */
interface Described {
  readonly type?: string
  readonly flags?: { readonly default?: unknown; readonly description?: string; readonly only?: boolean }
  readonly rules?: readonly { readonly name: string; readonly args?: { readonly limit?: unknown } }[]
  readonly allow?: readonly unknown[]
  readonly metas?: readonly SettingMeta[]
  readonly keys?: Readonly<Record<string, Described>>
  readonly items?: readonly Described[]
}

const rootDescription = rootSchema.describe() as Described
/** Sections and settings in schema order; a list of sections is a setting, and so are its items' keys. */
export const sectionDescriptions: readonly SectionDescription[] = describeSections(rootDescription, '')
export const settingDescriptions: readonly SettingDescription[] = describeSettings(rootDescription, '')

/**
 * Validates all of `raw`, and returns either the settings with every default filled in, or every mistake. `isShowable` says
 * whether a text may be shown; values of secret keys never are.
 */
export function validateSettings(
  raw: RawSection,
  isShowable: (text: string) => boolean,
): { readonly settings: Settings | undefined; readonly mistakes: readonly ConfigMistake[] } {
  const { value, error } = rootSchema.validate(raw, { abortEarly: false })
  const mistakes: ConfigMistake[] = []
  for (const detail of error?.details ?? []) mistakes.push(mistakeOf(detail, raw, isShowable))
  const settings = withDurationNames(value, rootDescription) as Settings
  for (const relation of settingRelations) {
    const keys = [relation.key, ...relation.others]
    // Where a setting or its section is itself wrong, a violated relation says nothing more.
    if (mistakes.some((mistake) => keys.some((key) => `${key}.`.startsWith(`${mistake.key}.`)))) continue
    if (relation.holds(settings)) continue
    const found = foundText(rawAt(raw, relation.key.split('.')), relation.key, isShowable)
    mistakes.push({ key: relation.key, found, allowed: relation.words })
  }
  return { settings: mistakes.length === 0 ? settings : undefined, mistakes }
}

function describeSections(described: Described, path: string): SectionDescription[] {
  const sections: SectionDescription[] = []
  for (const [name, child] of Object.entries(described.keys ?? {})) {
    if (child.type !== 'object') continue
    const key = path + name
    sections.push({ key, description: child.flags?.description ?? '' }, ...describeSections(child, `${key}.`))
  }
  return sections
}

function describeSettings(described: Described, path: string): SettingDescription[] {
  const settings: SettingDescription[] = []
  for (const [name, child] of Object.entries(described.keys ?? {})) {
    const key = path + name
    if (child.type === 'object') settings.push(...describeSettings(child, `${key}.`))
    else settings.push(describeSetting(child, key))
    for (const item of child.items ?? []) settings.push(...describeSettings(item, `${key}[].`))
  }
  return settings
}

function describeSetting(described: Described, key: string): SettingDescription {
  const { environment, secret, unneeded, defaultText } = metaOf(described)
  return {
    type: described.type ?? '',
    key,
    description: described.flags?.description ?? '',
    allowed: allowedText(described),
    defaultText: defaultText ?? defaultOf(described),
    environment,
    secret: secret ?? false,
    unneeded,
  }
}

function metaOf(described: Described): SettingMeta {
  return Object.assign({}, ...(described.metas ?? []))
}

function allowedText(described: Described): string {
  const written = metaOf(described).allowed
  if (written !== undefined) return written
  if (described.type === 'boolean') return '`true` or `false`'
  if (described.flags?.only) return `one of ${(described.allow ?? []).map((value) => `\`${value}\``).join(', ')}`
  const [least, most] = [limitOf(described, 'min'), limitOf(described, 'max')]
  switch (described.type) {
    case 'duration':
      return `a duration from ${formatDuration(least)} to ${formatDuration(most)}, such as \`500ms\`, \`4s\` or \`1h\``
    case 'bytes':
      return `a size from ${formatBytes(least)} to ${formatBytes(most)}, in bytes or such as \`64KiB\` or \`1MiB\``
    case 'number':
      return `a whole number from ${least} to ${most}`
    default:
      return assert.fail(`the schema does not say what is allowed for a value of the type ${described.type}`)
  }
}

function limitOf(described: Described, rule: 'min' | 'max'): number {
  const limit = described.rules?.find(({ name }) => name === rule)?.args?.limit
  assert(typeof limit === 'number', `the schema gives no ${rule} for a value of the type ${described.type}`)
  return limit
}

function defaultOf(described: Described): string | undefined {
  const value = described.flags?.default
  if (value === undefined || typeof value === 'object') return undefined
  if (typeof value !== 'number') return String(value)
  if (described.type === 'duration') return formatDuration(value)
  return described.type === 'bytes' ? formatBytes(value) : String(value)
}

/** The same tree with `Ms` appended to the name of each duration, deeply frozen. */
function withDurationNames(value: unknown, described: Described): unknown {
  if (Array.isArray(value)) {
    return Object.freeze(value.map((item: unknown) => withDurationNames(item, described.items?.[0] ?? {})))
  }
  if (typeof value !== 'object' || value === null || described.keys === undefined) return Object.freeze(value)
  const named: Record<string, unknown> = {}
  for (const [name, child] of Object.entries(value)) {
    const childDescribed = Object.hasOwn(described.keys, name) ? described.keys[name] : undefined
    // Unknown keys are mistakes, and keys without effect are not passed on.
    if (childDescribed === undefined || metaOf(childDescribed).unneeded !== undefined) continue
    named[childDescribed.type === 'duration' ? `${name}Ms` : name] = withDurationNames(child, childDescribed)
  }
  return Object.freeze(named)
}

function mistakeOf(
  detail: Joi.ValidationErrorItem,
  raw: RawSection,
  isShowable: (text: string) => boolean,
): ConfigMistake {
  const key = keyOf(detail.path)
  const value = rawAt(raw, detail.path)
  switch (detail.type) {
    case 'object.unknown': {
      const nearest = nearestKey(key)
      // The value of a misspelt key may be a secret, so it is not shown.
      const allowed =
        nearest === undefined ? 'only keys that docs/configuration.md names' : `\`${nearest}\` is the nearest known key`
      return { key, found: 'an unknown key', allowed }
    }
    case 'array.unique':
      return notUnique(key, detail)
    case 'object.base':
      return { key, found: foundText(value, key, isShowable), allowed: 'a section, with keys of its own' }
    default: {
      const described = describedAt(detail.path)
      assert(described !== undefined, `a mistake is at ${key}, which the schema does not know`)
      return { key, found: foundText(value, key, isShowable), allowed: allowedText(described) }
    }
  }
}

/** Items that are sections must differ in one key; others must differ as a whole. */
function notUnique(key: string, { context }: Joi.ValidationErrorItem): ConfigMistake {
  const name: unknown = context?.['path']
  if (typeof name !== 'string') return { key, found: 'the same as an earlier item', allowed: 'each at most once' }
  const article = name === 'id' ? 'an' : 'a'
  return { key: `${key}.${name}`, found: `the ${name} of an earlier item`, allowed: `${article} ${name} of its own` }
}

function keyOf(path: readonly (string | number)[]): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('')
}

function rawAt(raw: RawSection, path: readonly (string | number)[]): RawValue | undefined {
  let value: RawValue | undefined = raw
  for (const step of path) {
    if (value === undefined || typeof value === 'string') return undefined
    if (Array.isArray(value)) value = value[Number(step)]
    else value = Object.hasOwn(value, step) ? value[step] : undefined
  }
  return value
}

function describedAt(path: readonly (string | number)[]): Described | undefined {
  let described: Described | undefined = rootDescription
  for (const step of path) described = typeof step === 'number' ? described?.items?.[0] : described?.keys?.[step]
  return described
}

/** What was found, in words that reveal no secret: neither the key's own nor one below it. */
function foundText(value: RawValue | undefined, key: string, isShowable: (text: string) => boolean): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return value.length === 1 ? 'a list of 1 item' : `a list of ${value.length} items`
  if (typeof value !== 'string') return 'a section'
  const place = key.replaceAll(/\[\d+\]/g, '[]')
  const isSecret = settingDescriptions.some(
    (setting) =>
      setting.secret &&
      (setting.key === place || (/^[.[]/.test(setting.key.slice(place.length)) && setting.key.startsWith(place))),
  )
  if (isSecret || !isShowable(value)) return `a text of ${value.length} characters, which is not shown`
  return JSON.stringify(value.length > FOUND_CHARACTERS_MAX ? `${value.slice(0, FOUND_CHARACTERS_MAX)}…` : value)
}

/** The known key that was probably meant: by its full path, or by its last name where it is in the wrong section. */
export function nearestKey(key: string): string | undefined {
  const place = key.replaceAll(/\[\d+\]/g, '[]')
  const known = [...sectionDescriptions, ...settingDescriptions].map((each) => each.key)
  return nearest(place, known) ?? nearestByLastName(place, known)
}

function nearestByLastName(place: string, known: readonly string[]): string | undefined {
  const lastNameOf = (key: string) => key.slice(key.lastIndexOf('.') + 1)
  const lastName = nearest(lastNameOf(place), known.map(lastNameOf))
  return known.find((key) => lastNameOf(key) === lastName)
}

/** The candidate at the smallest edit distance, if it is close enough to be what was meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(word.length > 4 ? 2 : 1, Math.floor(word.length / 5)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Levenshtein distance: how many characters must be inserted, removed or replaced. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let line = 1; line <= from.length; line++) {
    const next = [line]
    for (let column = 1; column <= to.length; column++) {
      const change = row[column - 1]! + (from[line - 1] === to[column - 1] ? 0 : 1)
      next.push(Math.min(change, row[column]! + 1, next[column - 1]! + 1))
    }
    row = next
  }
  return row[to.length]!
}
