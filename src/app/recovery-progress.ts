/** How far a recovery has come, for /readyz and for the terminal. Pure: the caller supplies the clock. */

/** As shown by /readyz. */
export interface RecoveryProgress {
  /** 0 to 1. */
  readonly share: number
  readonly bytes_done: number
  readonly bytes_total: number
  /** At the rate so far; null while there is no reliable rate. */
  readonly seconds_left: number | null
}

/** Before this much time has passed, the rate means nothing. */
const PACE_MS_MIN = 250

/** `bytesDone` and `bytesTotal` since the recovery began, `elapsedMs` ago. */
export function recoveryProgress(bytesDone: number, bytesTotal: number, elapsedMs: number): RecoveryProgress {
  const share = bytesTotal === 0 ? 0 : Math.min(1, bytesDone / bytesTotal)
  const isPaced = elapsedMs >= PACE_MS_MIN && bytesDone > 0
  const msLeft = isPaced ? (elapsedMs / bytesDone) * Math.max(0, bytesTotal - bytesDone) : undefined
  return {
    share: Math.floor(share * 1000) / 1000,
    bytes_done: bytesDone,
    bytes_total: bytesTotal,
    seconds_left: msLeft === undefined ? null : Math.ceil(msLeft / 1000),
  }
}
