// A progress bar on a terminal. It is redrawn when there is something new, at most ten times a second, and leaves nothing behind.
// Without a terminal it draws nothing.

export interface Terminal {
  readonly isTTY?: boolean | undefined
  write(text: string): unknown
}

export interface ProgressBar {
  update(bytesDone: number, bytesTotal: number): void
  /** Removes the bar. */
  clear(): void
}

const WIDTH = 30
const DRAW_EVERY_MS = 100

export function progressBar(terminal: Terminal, title: string): ProgressBar {
  let drawnAtMs = Number.NEGATIVE_INFINITY
  return {
    update(bytesDone, bytesTotal) {
      const nowMs = performance.now()
      if (terminal.isTTY !== true || bytesTotal === 0 || nowMs - drawnAtMs < DRAW_EVERY_MS) return
      drawnAtMs = nowMs
      const share = bytesDone / bytesTotal
      const bar = '#'.repeat(Math.floor(share * WIDTH)).padEnd(WIDTH, '.')
      terminal.write(`\r${title} [${bar}] ${Math.floor(share * 100)} % of ${formatBytes(bytesTotal)}`)
    },
    clear() {
      if (drawnAtMs > 0) terminal.write('\r\x1b[K')
    },
  }
}

/** `1.5 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`
}
