/**
 * Generates docs/configuration.md from the configuration's schema: `npm run docs`. A test compares the file with the result, so
 * that the page cannot go stale. Uses only the schema's description; it loads no configuration.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type SettingDescription, sectionDescriptions, settingDescriptions } from '../config/check.ts'
import { settingRelations } from '../config/schema.ts'

const INTRODUCTION = `# Configuration

This page is generated from the schema by \`npm run docs\`; change \`src/config/schema.ts\`, not this file.

Nothing has to be configured. Settings come from these sources, each overriding the ones before it:

1. the defaults below;
2. \`base.yaml\` in the configuration folder;
3. \`development.yaml\`, \`staging.yaml\` or \`production.yaml\` in the same folder, as selected by the environment variable
   \`APP_ENV\` (\`development\` if it is not set). Sections are merged, key by key; lists are replaced; an empty value is ignored.

The configuration folder is the one named by \`SSER_CONFIG_DIR\`; otherwise \`_config\` in the working directory, if it exists;
otherwise the package's own \`config\`. The folder may hold only one of the files, or none.

In a value, \`\${NAME:default}\` is replaced by the environment variable \`NAME\` or, if that is not set or empty, by what follows the
first colon. A setting that no file contains is read from the environment variable in its table row, so a value written in a
file without \`\${…}\` takes precedence over the environment. A file \`.env\` in the working directory counts as environment; real
environment variables take precedence over it.

A wrong configuration stops the start. All mistakes are reported at once, each with its key, its file and line, what was found and
what is allowed. An unknown key is a mistake, too; the nearest known one is suggested. Secrets are never shown.
[\`sser config check\`](cli.md#sser-config-check) reports the same mistakes without starting, and
[\`sser config show\`](cli.md#sser-config-show) prints every setting with its value and where that comes from.

Durations are written \`500ms\`, \`4s\`, \`2m\`, \`1h\`, or combined as in \`1h30m\`. Sizes are in bytes, or written \`64KiB\`, \`1MiB\`,
\`2GiB\`. Switches are \`true\` or \`false\`.

## Well-known values count as missing

Values that are published somewhere protect nothing, so they are treated as missing:

- an API or metrics token that has fewer than 16 characters, contains a word such as \`changeme\`, \`default\`, \`example\`,
  \`placeholder\`, \`password\` or \`secret\`, or begins like \`your-token\`;
- the tokens in the \`base.yaml\` of the original, and their hashes;
- the domain name \`example.com\` (or another example domain), and an e-mail address there or like \`you@…\`.

A missing token is generated at the first start and kept in \`tokens.json\` in the data folder, readable by its owner only; in
production (\`APP_ENV=production\`) it stops the start instead. The token of a static topic must always be given.

## Variables that no setting reads

| variable | default | what it does |
| --- | --- | --- |
| \`APP_ENV\` | \`development\` | one of \`development\`, \`staging\`, \`production\`; anything else stops the start |
| \`SSER_CONFIG_DIR\` | see above | the configuration folder |
`

const UNNEEDED = `
## Known from the original, and not needed

A configuration written for the original works unchanged. These settings of it have no effect here; they are accepted, and reported
once at the start.

`

const neededSettings = settingDescriptions.filter(({ unneeded }) => unneeded === undefined)

/** The whole page. */
export function configurationPage(): string {
  const sections = sectionDescriptions.map(({ key, description }) => {
    const rows = neededSettings.filter((setting) => sectionOf(setting.key) === key).map(rowOf)
    const head = '| key | allowed | default | environment | what it does |\n| --- | --- | --- | --- | --- |\n'
    return `\n## ${key}\n\n${description}\n\n${head}${rows.join('')}`
  })
  const relations = settingRelations.map(({ key, words }) => `- \`${key}\`: ${words}.\n`)
  const unneeded = settingDescriptions.flatMap(({ key, unneeded: why }) =>
    why === undefined ? [] : [`| \`${key}\` | ${why} |\n`],
  )
  const unneededTable = `| key | why not |\n| --- | --- |\n${unneeded.join('')}`
  return `${INTRODUCTION}${sections.join('')}\n## Between settings\n\n${relations.join('')}${UNNEEDED}${unneededTable}`
}

function sectionOf(key: string): string {
  const list = key.indexOf('[]')
  const path = list === -1 ? key : key.slice(0, list)
  return path.slice(0, path.lastIndexOf('.'))
}

function rowOf({ key, allowed, defaultText, environment, description }: SettingDescription): string {
  const cells = [`\`${key}\``, allowed, defaultCell(defaultText), environment ? `\`${environment}\`` : '', description]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`
}

function defaultCell(text: string | undefined): string {
  if (text === undefined) return 'none'
  return text.includes(' ') ? text : `\`${text}\``
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = fileURLToPath(new URL('../../docs/configuration.md', import.meta.url))
  writeFileSync(path, configurationPage())
  console.log(`Wrote ${path}`)
}
