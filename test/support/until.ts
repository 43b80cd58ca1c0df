/** For what no event tells: asks again and again, for as long as only a failure takes. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'

const WAIT_MS_MAX = 60_000
const POLL_MS = 20

export async function until(what: string, holds: () => Promise<boolean | undefined> | boolean): Promise<void> {
  const endsAt = performance.now() + WAIT_MS_MAX
  while (!(await holds())) {
    assert(performance.now() < endsAt, `waited in vain: ${what}`)
    await delay(POLL_MS)
  }
}
