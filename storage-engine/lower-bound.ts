/** The first of 0 to `count` for which `isPast` holds; it must hold for all that follow one for which it does. */
export function lowerBound(count: number, isPast: (i: number) => boolean): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isPast(middle)) high = middle
    else low = middle + 1
  }
  return low
}
