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

Without any configuration the server runs as a small one should. What should differ comes from, in rising order:

1. the defaults below;
2. \`base.yaml\` in the configuration folder;
3. over it \`development.yaml\`, \`staging.yaml\` or \`production.yaml\`, as the environment variable \`APP_ENV\` says
   (\`development\` where it is not set). Sections are merged, key by key; lists are replaced; an empty value says nothing.

The configuration folder is the one that \`SSER_CONFIG_DIR\` names; without it \`_config\` in the working directory where
that is there; otherwise the package's own \`config\`. A folder that holds only one of the files, or none, is fine.

In a value, \`\${NAME:default}\` is replaced from the environment: by the variable, or, where that is not set or empty, by
what stands behind the first colon. A setting that no file states is read from the environment variable of its table row.
So a value that a file states without \`\${…}\` wins over the environment. A file \`.env\` in the working directory counts as
environment; the real environment wins over it.

A wrong configuration stops the start. All mistakes are told at once, each with its key, its file and line, what was found and
what is allowed; an unknown key is a mistake too, and the nearest known one is named. Secrets are never shown.
[\`sser config check\`](cli.md#sser-config-check) tells the same without a start, and
[\`sser config show\`](cli.md#sser-config-show) prints every setting with what holds, and where it comes from.

Durations are written \`500ms\`, \`4s\`, \`2m\`, \`1h\`, or together \`1h30m\`. Sizes are bytes, or \`64KiB\`, \`1MiB\`, \`2GiB\`.
Switches are \`true\` or \`false\`.

## Well-known values count as missing

Values that stand in public files protect nothing, so they are treated as if they were not there:

- an API or metrics token of fewer than 16 characters, or with a word such as \`changeme\`, \`default\`, \`example\`,
  \`placeholder\`, \`password\` or \`secret\` in it, or one that begins like \`your-token\`;
- the tokens that the \`base.yaml\` of the original brings along, and their hashes;
- a domain name \`example.com\` (or another example domain), and an e-mail address there or like \`you@…\`.

A missing token is made at the first start and kept in \`tokens.json\` in the data folder, readable by its owner only; but
in production (\`APP_ENV=production\`) it stops the start. A token of a static topic has to be given everywhere.

## Variables that no setting reads

| variable | default | what it does |
| --- | --- | --- |
| \`APP_ENV\` | \`development\` | one of \`development\`, \`staging\`, \`production\`; anything else stops the start |
| \`SSER_CONFIG_DIR\` | see above | the configuration folder |
`

const UNNEEDED = `
## Known from the original, and not needed

A configuration that was made for the original starts this server as it is. What it states beyond the settings above is
accepted, and told once at the start.

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
