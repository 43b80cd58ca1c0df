// `sser config show`: every setting, its value, and where that was found; as YAML that could start a server once the secrets are
// filled in. Promises that no secret is printed, wherever it occurs.
import { relative } from 'node:path'
import { type SettingDescription, settingDescriptions } from '../../config/check.ts'
import { ConfigError, type LoadedConfig, type Origin } from '../../config/config.ts'
import { formatBytes, formatDuration } from '../../config/values.ts'
import { type CliHost, exitConfig, exitWhole, print } from '../host.ts'
import type { ConfigOptions } from './commands.ts'
import { loadNamed } from './load.ts'

/** As written in YAML, or in JSON. */
type Written = string | number | boolean | readonly Written[] | { readonly [key: string]: Written }

const COMMENT_COLUMN = 44
const NOT_SHOWN = 'given, not shown'

/** Resolves with the exit code. */
export async function showConfig(options: ConfigOptions, host: CliHost): Promise<number> {
  try {
    const loaded = loadNamed(options, host)
    for (const line of options.json === true ? jsonLines(loaded) : yamlLines(loaded, host)) {
      await print(host, `${line}\n`)
    }
    return exitWhole
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    host.stderr.write(`${error.message}\n`)
    return exitConfig
  }
}

/** Individual settings, without those of list items. */
const shown = settingDescriptions.filter(({ key, unneeded }) => unneeded === undefined && !key.includes('[]'))

function* jsonLines(loaded: LoadedConfig): Generator<string> {
  for (const setting of shown) {
    const { key } = setting
    const value = shownValue(setting, loaded)
    const origin = value === undefined ? undefined : loaded.originOf(key)
    yield JSON.stringify({
      key,
      value: value === NOT_SHOWN ? null : (value ?? null),
      is_given: origin !== undefined,
      file: origin?.file ?? null,
      line: origin?.line ?? null,
      environment: origin?.environment ?? null,
    })
  }
}

function* yamlLines(loaded: LoadedConfig, host: CliHost): Generator<string> {
  yield `# APP_ENV is ${loaded.config.appEnv}.`
  for (const notice of loaded.notices) yield `# ${notice}`
  let above: readonly string[] = []
  for (const setting of shown) {
    const path = setting.key.split('.')
    const sections = path.slice(0, -1)
    for (const [depth, section] of sections.entries()) {
      const isNew = sections.slice(0, depth + 1).join('.') !== above.slice(0, depth + 1).join('.')
      if (isNew) yield `${'  '.repeat(depth)}${section}:`
    }
    above = sections
    yield* settingLines(setting, '  '.repeat(sections.length), path.at(-1) ?? '', loaded, host)
  }
}

function* settingLines(
  setting: SettingDescription,
  indent: string,
  name: string,
  loaded: LoadedConfig,
  host: CliHost,
): Generator<string> {
  const value = shownValue(setting, loaded)
  const from = value === undefined ? '' : originWords(loaded.originOf(setting.key), host)
  if (value === undefined) yield `${indent}# ${name}: none`
  else if (value === NOT_SHOWN) yield commented(`${indent}# ${name}: ${NOT_SHOWN}`, from)
  else if (isSections(value)) {
    yield commented(`${indent}${name}:`, from)
    for (const item of value) yield* itemLines(item, `${indent}  `)
  } else yield commented(`${indent}${name}: ${yaml(value)}`, from)
}

function* itemLines(item: Readonly<Record<string, Written>>, indent: string): Generator<string> {
  let lead = `${indent}- `
  for (const [name, value] of Object.entries(item)) {
    yield value === NOT_SHOWN ? `${indent}  # ${name}: ${NOT_SHOWN}` : `${lead}${name}: ${yaml(value)}`
    if (value !== NOT_SHOWN) lead = `${indent}  `
  }
}

function isSections(value: Written): value is readonly Readonly<Record<string, Written>>[] {
  return Array.isArray(value) && value.length > 0 && typeof value[0] === 'object'
}

function commented(line: string, comment: string): string {
  return comment === '' ? line : `${line.padEnd(COMMENT_COLUMN)} # ${comment}`
}

function originWords(origin: Origin | undefined, { cwd }: CliHost): string {
  if (origin === undefined) return 'default'
  const { file, line, environment } = origin
  const near = file === undefined ? '' : relative(cwd, file)
  const place = near.startsWith('..') ? (file ?? '') : near
  return [environment ?? '', line === undefined ? place : `${place}:${line}`].filter((part) => part !== '').join(', ')
}

/** The effective value, as it would be written; undefined where there is none. Secrets are left out of lists. */
function shownValue(setting: SettingDescription, { config, isShowable }: LoadedConfig): Written | undefined {
  const path = setting.key.split('.')
  let value: unknown = config
  for (const [index, name] of path.entries()) {
    const isDuration = index === path.length - 1 && setting.type === 'duration'
    value = (value as Readonly<Record<string, unknown>>)[isDuration ? `${name}Ms` : name]
  }
  return value === undefined ? undefined : written(value, setting, isShowable)
}

function written(value: unknown, setting: SettingDescription, isShowable: LoadedConfig['isShowable']): Written {
  if (setting.secret) return NOT_SHOWN
  if (typeof value === 'boolean') return value
  if (typeof value === 'number') {
    if (setting.type === 'duration') return formatDuration(value)
    return setting.type === 'bytes' ? formatBytes(value) : value
  }
  if (typeof value === 'string') return isShowable(value) ? value : NOT_SHOWN
  if (Array.isArray(value)) return value.map((item: unknown) => written(item, setting, isShowable))
  const parts = value as Readonly<Record<string, unknown>>
  if ('port' in parts) return addressText(parts as { host: string | undefined; port: number })
  if ('prefix' in parts) return `${parts['address']}/${parts['prefix']}`
  const items = settingDescriptions.filter(({ key }) => key.startsWith(`${setting.key}[].`))
  return Object.fromEntries(
    items.flatMap((item) => {
      const part = parts[item.key.slice(setting.key.length + 3)]
      return part === undefined ? [] : [[item.key.slice(setting.key.length + 3), written(part, item, isShowable)]]
    }),
  )
}

function addressText({ host, port }: { readonly host: string | undefined; readonly port: number }): string {
  if (host === undefined) return `:${port}`
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Quoted where it could be read as something else. JSON is YAML. */
function yaml(value: Written): string {
  const isPlain = typeof value === 'string' && /^(?:\.{0,2}\/|[A-Za-z])[\w./-]*$|^\d+(?:\.\d+)?[A-Za-z]+$/.test(value)
  return isPlain ? value : JSON.stringify(value)
}
