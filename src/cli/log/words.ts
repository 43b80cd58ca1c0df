// Numbers, times and ids as the commands print them.
import { formatEventId } from '../../domain/event-id.ts'
import { formatTime } from '../log-dump.ts'

export function idOf(number: number): string
export function idOf(number: number | undefined): string | null
export function idOf(number: number | undefined): string | null {
  return number === undefined ? null : formatEventId(number)
}

export function timeOf(timeMs: number | undefined): string | null {
  return timeMs === undefined ? null : formatTime(timeMs)
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

export function quoted(text: string): string {
  return JSON.stringify(text)
}
