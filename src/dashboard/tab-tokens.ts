// The tokens entered or issued in this tab, kept only in its session storage: gone when the tab is closed.

/**
 * What a token is for: the figures, the API as a whole, or one topic's events. The one for the figures is what was entered to sign
 * in; it may be an API token, and open more.
 */
export type Purpose = 'metrics' | 'api' | `subscribe ${string}` | `publish ${string}`

const prefix = 'sser.token '

export function keptToken(purpose: Purpose): string | undefined {
  return sessionStorage.getItem(prefix + purpose) ?? undefined
}

type Listener = (purpose: Purpose) => void

const listeners = new Set<Listener>()

export function keepToken(purpose: Purpose, token: string): void {
  sessionStorage.setItem(prefix + purpose, token)
  for (const listener of [...listeners]) listener(purpose)
}

/** Until the returned function is called. */
export function onTokenKept(listener: Listener): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export function forgetToken(purpose: Purpose): void {
  sessionStorage.removeItem(prefix + purpose)
}

export function forgetAllTokens(): void {
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(prefix)) sessionStorage.removeItem(key)
}
