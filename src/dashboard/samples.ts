// Calculations on the server's samples. Pure: knows no document, no connection.
import type { Row, Sample } from '../http/dashboard-sample.ts'

export const rowsMax = 900
/** Nothing is known between rows further apart than this: no line is drawn. */
const stepMsMax = 5000
/** Files grow in steps: over a shorter time nothing can be said. */
const growthMsMin = 60_000

export function rowOf({ time, figures, log }: Sample): Row {
  return [time, figures['message_received'] ?? 0, figures['message_sent'] ?? 0, log?.bytes ?? 0]
}

/** Seconds, and for each the rates of both counts; null where unknown. */
export type Series = [seconds: number[], published: (number | null)[], delivered: (number | null)[]]

export function seriesOf(rows: readonly Row[]): Series {
  const series: Series = [[], [], []]
  for (const [index, row] of rows.entries()) {
    const before = rows[index - 1]
    series[0].push(row[0] / 1000)
    series[1].push(rateBetween(before, row, 1))
    series[2].push(rateBetween(before, row, 2))
  }
  return series
}

/** Events per second; null across a pause or a restart, after which the counts begin again. */
export function rateBetween(before: Row | undefined, row: Row, column: 1 | 2): number | null {
  if (before === undefined) return null
  const timeMs = row[0] - before[0]
  const count = row[column] - before[column]
  if (timeMs <= 0 || timeMs > stepMsMax || count < 0) return null
  return (count * 1000) / timeMs
}

/** Bytes per second by which the log has grown over all rows; undefined where they span too short a time. */
export function growthOf(rows: readonly Row[]): number | undefined {
  const [first, last] = [rows[0], rows.at(-1)]
  if (first === undefined || last === undefined || last[0] - first[0] < growthMsMin) return undefined
  return ((last[3] - first[3]) * 1000) / (last[0] - first[0])
}

/** Appends the rows that are newer than all existing ones, in place, and drops the oldest. */
export function addRows(rows: Row[], added: readonly Row[]): void {
  for (const row of added) if (row[0] > (rows.at(-1)?.[0] ?? 0)) rows.push(row)
  if (rows.length > rowsMax) rows.splice(0, rows.length - rowsMax)
}
