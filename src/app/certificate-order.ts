// Orders a certificate without a server: what a server does for that, and no more. If a program already listens on the plain
// port, it has to answer the authority: a server that shares the folder can, and so can a proxy in front of one.
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { Config } from '../config/config.ts'
import { makeRedirector } from '../http/redirect.ts'
import { AcmeCache } from '../tls/acme-cache.ts'
import { Renewer } from '../tls/renewer.ts'
import type { OrderOutcome } from '../tls/status.ts'
import { tlsOptions } from './tls.ts'

/** Rejects with the system's error where the port must not be listened on, and with the signal's reason. */
export async function orderHere({ server }: Config, signal: AbortSignal): Promise<OrderOutcome> {
  const { cacheDir, domainNames, acme } = await tlsOptions(server.ssl)
  if (acme === undefined) throw new Error('there is nothing to order')
  const cache = new AcmeCache(cacheDir)
  const silent = { orderBegins: () => undefined, orderFailed: () => undefined }
  const renewer = new Renewer(cache, { ...acme, names: domainNames }, silent)
  const breakOff = () => void renewer.close()
  const answering = await listenForProofs(server, (token) => cache.proofFor(token))
  signal.addEventListener('abort', breakOff)
  try {
    const outcome = await renewer.renew()
    signal.throwIfAborted()
    return outcome
  } finally {
    signal.removeEventListener('abort', breakOff)
    answering?.close()
    answering?.closeAllConnections()
  }
}

/** Undefined where the port is taken. */
async function listenForProofs(
  { addr, sslAddr }: Config['server'],
  proofFor: (token: string) => Promise<string | undefined>,
): Promise<Server | undefined> {
  const server = makeRedirector({}, () => sslAddr.port, proofFor)
  server.listen(addr)
  try {
    await once(server, 'listening')
    return server
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return undefined
    throw error
  }
}
