// Formats numbers, sizes and times for this page. Pure.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const tenths = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 })
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 })
const percent = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 1 })

export function wholeText(value: number): string {
  return whole.format(value)
}

/** With tenths where they matter; large numbers with three significant digits. */
export function rateText(value: number | null): string {
  if (value === null) return '–'
  return (value < 1000 ? tenths : value < 100_000 ? whole : short).format(value)
}

export function shareText(value: number): string {
  return percent.format(value)
}

export function bytesText(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10))
  return `${(count / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

/** Three significant digits. */
export function msText(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10_000 ? 0 : 1)} s`
  return `${ms.toFixed(ms >= 100 ? 0 : ms >= 10 ? 1 : 2)} ms`
}

/** A time span in its largest unit alone, for values that are estimates anyway. */
export function spanText(seconds: number): string {
  const units = [
    ['year', 31_557_600],
    ['day', 86_400],
    ['hour', 3_600],
    ['minute', 60],
  ] as const
  for (const [name, length] of units) {
    const count = Math.round(seconds / length)
    if (count >= 2 || (count === 1 && name === 'minute'))
      return `${whole.format(count)} ${name}${count === 1 ? '' : 's'}`
  }
  return 'less than a minute'
}

export function clockText(timeMs: number): string {
  return new Date(timeMs).toLocaleTimeString([], { hourCycle: 'h23' })
}

/** Only the time of day if it is today. */
export function timeText(timeMs: number): string {
  const date = new Date(timeMs)
  const isToday = date.toDateString() === new Date().toDateString()
  return isToday ? clockText(timeMs) : `${date.toLocaleDateString('en-CA')} ${clockText(timeMs)}`
}
