// `sser tls renew`: orders another certificate now, through the running server, or, where none runs, here.
import { basename, dirname } from 'node:path'
import { orderHere } from '../../app/certificate-order.ts'
import type { Config } from '../../config/config.ts'
import { namesToOrder } from '../../config/schema.ts'
import { askRenewal, ControlError } from '../../control/control-client.ts'
import type { OrderOutcome } from '../../tls/status.ts'
import type { ConfigOptions } from '../config/commands.ts'
import { loadNamed } from '../config/load.ts'
import { type CliHost, CommandFailure, exitConfig, exitFailed, exitLocked, exitWhole, print } from '../host.ts'
import { leaveToOwner } from '../log/log-folder.ts'
import { failedWith } from './failure.ts'
import { timeText } from './status.ts'

/** Resolves with the exit code. */
export async function renew(options: ConfigOptions, host: CliHost): Promise<number> {
  try {
    const { config } = loadNamed(options, host)
    requireOrders(config)
    const byServer = await askServer(config.storage.directory)
    const outcome = byServer ?? (await orderedHere(config, host))
    const who = byServer === undefined ? 'command' : 'server'
    await print(host, options.json === true ? `${JSON.stringify(jsonOf(outcome, who))}\n` : wordsOf(outcome, who))
    return exitCodeOf(outcome)
  } catch (error) {
    return failedWith(error, host)
  }
}

/** Throws CommandFailure where there is nothing to order. */
function requireOrders({ server: { ssl } }: Config): void {
  if (!ssl.enabled) throw new CommandFailure(exitConfig, 'HTTPS is off: set server.ssl.enabled (SSER_SSL_ENABLED).')
  if (ssl.certFile !== undefined) {
    const words = `the certificate is that of ${ssl.certFile}; whoever writes that file renews it. A server that runs looks for a new one every few seconds.`
    throw new CommandFailure(exitConfig, words)
  }
  if (namesToOrder(ssl).length > 0) return
  throw new CommandFailure(
    exitConfig,
    'no certificate is ordered for this configuration: server.ssl.domainName (SSER_DOMAIN_NAME) has no name that an authority vouches for. The server makes one for itself.',
  )
}

/** Undefined where no server answers. */
async function askServer(dataFolder: string): Promise<OrderOutcome | undefined> {
  try {
    return await askRenewal(dataFolder)
  } catch (error) {
    if (error instanceof ControlError && error.code === 'ABSENT') return undefined
    throw error
  }
}

async function orderedHere(config: Config, host: CliHost): Promise<OrderOutcome> {
  const { cacheDir } = config.server.ssl
  const outcome = await orderHere(config, host.stopSignal())
  // Otherwise the next server could not read what root has written.
  await leaveToOwner(dirname(cacheDir), (name) => name === basename(cacheDir))
  await leaveToOwner(cacheDir)
  return outcome
}

type Who = 'server' | 'command'

function jsonOf(outcome: OrderOutcome, who: Who): object {
  const next =
    outcome.kind === 'failed' ? outcome.nextAtMs : outcome.kind === 'asked-to-wait' ? outcome.untilMs : undefined
  return {
    result: outcome.kind.replaceAll('-', '_'),
    by: who,
    reason: 'words' in outcome ? outcome.words : null,
    next_at: next === undefined ? null : timeText(next),
  }
}

function wordsOf(outcome: OrderOutcome, who: Who): string {
  switch (outcome.kind) {
    case 'ordered':
      return who === 'server'
        ? 'Another certificate was ordered; the server shows it to new connections.\n'
        : 'Another certificate was ordered; the next start shows it. No server runs in the data folder.\n'
    case 'failed':
      return `No certificate could be ordered; the one that is there stays. ${outcome.words}\n${
        who === 'server' ? `The server tries again at ${timeText(outcome.nextAtMs)}.\n` : ''
      }`
    case 'asked-to-wait':
      return `Nothing was asked: the authority wants to be left alone until ${timeText(outcome.untilMs)}. ${outcome.words}\n`
    case 'elsewhere':
      return 'Another process is ordering into the same folder. See sser tls status in a minute.\n'
  }
}

function exitCodeOf({ kind }: OrderOutcome): number {
  if (kind === 'ordered') return exitWhole
  return kind === 'failed' ? exitFailed : exitLocked
}
