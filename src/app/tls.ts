// Derives the options of the certificate code from the HTTPS settings, for the server and for the commands alongside it.
// Decides nothing.
import { acquireDirectoryLock, StorageError } from '../../storage-engine/index.ts'
import type { Config } from '../config/config.ts'
import { namesToOrder } from '../config/schema.ts'
import type { FolderLock } from '../tls/renewer.ts'
import type { TlsOptions } from '../tls/tls.ts'

/** Rejects where a file of the configuration cannot be read. */
export async function tlsOptions(ssl: Config['server']['ssl']): Promise<TlsOptions> {
  const { cacheDir, acme, letsencryptEmail } = ssl
  const ordered = namesToOrder(ssl)
  const base = {
    domainNames: ordered.length > 0 ? ordered : (ssl.domainName ?? []),
    certFile: ssl.certFile,
    keyFile: ssl.keyFile,
    cacheDir,
    checkIntervalMs: ssl.checkIntervalMs,
  }
  if (ordered.length === 0) return { ...base, acme: undefined }
  const { directoryUrl, externalAccount, preferredChain, keyType, retryFirstMs, retryMaxMs } = acme
  // The certificate code is large, but every caller has loaded it already.
  const { readTrusted } = await import('../tls/tls.ts')
  const trusted = acme.trustedFile === undefined ? undefined : await readTrusted(acme.trustedFile)
  const { keyId, hmacKey } = externalAccount
  const own = keyId === undefined || hmacKey === undefined ? undefined : { keyId, hmacKey }
  const authority = { directoryUrl, email: letsencryptEmail, externalAccount: own, preferredChain, trusted }
  return { ...base, acme: { authority, keyType, retryFirstMs, retryMsMax: retryMaxMs, lock: lockFolder } }
}

/** Undefined where another process holds it. Rejects where the folder cannot be used. */
export async function lockFolder(directory: string): Promise<FolderLock | undefined> {
  try {
    return await acquireDirectoryLock(directory)
  } catch (error) {
    if (error instanceof StorageError && error.code === 'STORAGE_LOCKED') return undefined
    throw error
  }
}
