// `sser config check`: whether a server would start with this configuration.
import { ConfigError } from '../../config/config.ts'
import { type CliHost, exitConfig, exitWhole, print } from '../host.ts'
import type { ConfigOptions } from './commands.ts'
import { loadNamed, mistakesJson } from './load.ts'

/** Resolves with the exit code. */
export async function checkConfig(options: ConfigOptions, host: CliHost): Promise<number> {
  try {
    const { config, files, notices } = loadNamed(options, host)
    const json = { is_right: true, app_env: config.appEnv, files, notices, mistakes: [] }
    const read = files.length === 0 ? 'No file was read; the defaults hold.' : `Read: ${files.join(', ')}.`
    const words = `The configuration is right (APP_ENV is ${config.appEnv}). ${read}\n${notices.map((notice) => `${notice}\n`).join('')}`
    await print(host, options.json === true ? `${JSON.stringify(json)}\n` : words)
    return exitWhole
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    if (options.json === true) {
      await print(host, `${JSON.stringify({ is_right: false, mistakes: mistakesJson(error) })}\n`)
    } else {
      host.stderr.write(`${error.message}\n`)
    }
    return exitConfig
  }
}
