// Loads the configuration selected by a command's options.
import { type ConfigError, type LoadedConfig, loadConfig } from '../../config/config.ts'
import type { CliHost } from '../host.ts'
import type { ConfigOptions } from './commands.ts'

/** Throws ConfigError. */
export function loadNamed({ config, env }: ConfigOptions, host: CliHost): LoadedConfig {
  return loadConfig({
    cwd: host.cwd,
    env: {
      ...host.env,
      ...(config !== undefined && { SSER_CONFIG_DIR: config }),
      ...(env !== undefined && { APP_ENV: env }),
    },
  })
}

export function mistakesJson({ mistakes }: ConfigError): readonly object[] {
  return mistakes.map(({ key, found, allowed, origin }) => ({
    key,
    found,
    allowed,
    file: origin?.file ?? null,
    line: origin?.line ?? null,
    environment: origin?.environment ?? null,
  }))
}
