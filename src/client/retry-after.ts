/** How long a server asks clients to wait: seconds, or a date (RFC 9110, section 10.2.3). */

/** Upper bound, whatever the server says; also well below what a timer can hold. */
const WAIT_MS_MAX = 3_600_000

/** In ms, from now; 0 without the header, or if it has neither of the two forms. */
export function retryAfterMs(header: string | null, nowMs: number): number {
  if (header === null) return 0
  const waitMs = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - nowMs
  return waitMs > 0 ? Math.min(waitMs, WAIT_MS_MAX) : 0
}
