/** Of a handful of figures. */

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** The value that this share of them, from 0 to 1, is below; between two of them where it falls between. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  const place = share * (sorted.length - 1)
  const below = sorted[Math.floor(place)] ?? Number.NaN
  const above = sorted[Math.ceil(place)] ?? Number.NaN
  return below + (above - below) * (place - Math.floor(place))
}
