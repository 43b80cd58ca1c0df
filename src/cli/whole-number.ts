// Parses the number that an option takes.
import { UsageError } from './host.ts'

/** Throws UsageError for anything but a whole number from `least` on. */
export function wholeNumber(option: string, text: string, least = 1): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (number >= least) return number
  throw new UsageError(`${option} takes a whole number from ${least} on, not ${JSON.stringify(text)}.`)
}
