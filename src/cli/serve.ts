// `sser serve`: from the configuration to a running server, and to its end by a signal. Promises an exit code that says how it
// ended, mistakes in words, and that a second signal ends it at once. Knows nothing of what the server consists of.
import { type App, createAppLogger, type Logger, startApp } from '../app/app.ts'
import { type Config, ConfigError, type LoadedConfig, loadConfig } from '../config/config.ts'
import { isHashed } from '../domain/token.ts'
import { greetingText } from './greeting.ts'
import { packageVersion } from './package-version.ts'
import { progressBar } from './progress-bar.ts'
import { startFailureWords } from './start-failure.ts'

/** EX_CONFIG of sysexits.h. */
const exitConfig = 78
const exitFailed = 1
const exitSecondSignal = 130

/** Resolves with the exit code when the server has ended. */
export async function serve(): Promise<number> {
  const loaded = load()
  if (loaded === undefined) return exitConfig
  const { config, notices } = loaded
  const logger = createAppLogger(config)
  process.on('uncaughtException', (error) => {
    logger.error({ error }, 'The process ends because of an unexpected error.')
    process.exit(exitFailed)
  })
  // The reader of the greeting or the log may be gone, or its disk may be full: no reason to stop.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  for (const notice of notices) logger.warn({}, notice)

  const stopAsked = firstSignal(logger)
  const bar = progressBar(process.stderr, 'Reading the log')
  let app: App
  try {
    app = await startApp(config, logger, bar.update)
  } catch (error) {
    return failed(error)
  }
  const ended = await Promise.race([app.ready.then(() => 'ready' as const), stopAsked])
    .finally(bar.clear)
    .catch(async (error: unknown) => {
      await app.close()
      return failed(error)
    })
  if (typeof ended === 'number') return ended
  if (ended === 'ready' && (!config.production || process.stdout.isTTY)) {
    process.stdout.write(
      greetingText({
        version: packageVersion(),
        ...reachableAt(app, config.server),
        dataDirectory: config.storage.directory,
        isPersistent: config.kv.enabled,
        tokenFile: app.tokens.path,
        apiToken: config.production || isHashed(app.tokens.apiAccessToken) ? undefined : app.tokens.apiAccessToken,
      }),
    )
  }
  await stopAsked
  try {
    await app.close()
  } catch (error) {
    // Nothing acknowledged is lost: the next start recovers the log, as after a crash.
    logger.error({ error }, 'The server has stopped, but could not close its log.')
    return exitFailed
  }
  logger.info({}, 'The server has stopped.')
  return 0
}

/** Over TLS, by a name in the certificate: one issued by somebody else is not for this machine's own names. */
function reachableAt({ address, secureAddress, selfSignedFile }: App, { addr, sslAddr, ssl }: Config['server']) {
  if (secureAddress === undefined) {
    return { isSecure: false, trustedFile: undefined, host: addr.host, port: address.port }
  }
  const host = selfSignedFile === undefined ? ssl.domainName?.[0] : undefined
  return { isSecure: true, trustedFile: selfSignedFile, host: host ?? sslAddr.host, port: secureAddress.port }
}

function load(): LoadedConfig | undefined {
  try {
    return loadConfig({ env: process.env, cwd: process.cwd() })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    return undefined
  }
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process. */
function firstSignal(logger: Logger): Promise<'signal'> {
  return new Promise((resolve) => {
    let isFirst = true
    function onSignal(signal: NodeJS.Signals): void {
      if (!isFirst) process.exit(exitSecondSignal)
      isFirst = false
      logger.info({ signal }, 'The server is stopping; a second signal ends it at once.')
      resolve('signal')
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}

function failed(error: unknown): number {
  process.stderr.write(`sser cannot start: ${startFailureWords(error)}\n`)
  return exitFailed
}
