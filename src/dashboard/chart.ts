// The chart of the last 15 minutes, drawn by uPlot, whose script is loaded by the page before this one. Takes its colours from
// the style sheet, and is redrawn when they change.
import type UPlot from 'uplot'
import type { Series } from './samples.ts'

declare global {
  interface Window {
    /** Undefined where its script could not be loaded. */
    readonly uPlot?: typeof UPlot
  }
}

const heightPx = 240
const spanSeconds = 900
/** If the server has run for less than the whole span, the existing data fills the chart. */
const spanSecondsMin = 120
const timeSpacePx = 70
const axisFont = '12px system-ui, sans-serif'

export interface Chart {
  draw(series: Series): void
}

export function makeChart(place: HTMLElement): Chart {
  const { uPlot } = window
  if (uPlot === undefined) {
    place.textContent = 'The chart could not be loaded. Everything else works without it.'
    return { draw: () => undefined }
  }
  let latest: Series = [[], [], []]
  let chart = plot(uPlot, place, latest)
  new ResizeObserver(() => {
    // While another view is shown there is no width to draw in.
    if (place.clientWidth > 0) chart.setSize({ width: place.clientWidth, height: heightPx })
  }).observe(place)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    chart.destroy()
    chart = plot(uPlot, place, latest)
  })
  return {
    draw(series) {
      latest = series
      chart.setData(series)
    },
  }
}

function plot(uPlot: typeof UPlot, place: HTMLElement, series: Series): UPlot {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(name).trim()
  const axis = { stroke: colour('--muted'), grid: { stroke: colour('--line'), width: 1 }, font: axisFont }
  const line = { width: 1.75, points: { show: false }, spanGaps: false }
  const options: UPlot.Options = {
    width: place.clientWidth,
    height: heightPx,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    // On the right, half of the last time fits in.
    padding: [8, 32, 0, 0],
    scales: {
      x: { range: (_chart, min, max) => spanOf(min, max) },
      y: { range: (_chart, _min, max) => [0, Math.max(1, (max ?? 0) * 1.15)] },
    },
    axes: [
      {
        ...axis,
        ticks: { show: false },
        size: 24,
        space: timeSpacePx,
        values: (_chart, splits, _axis, _space, stepSeconds) =>
          splits.map((seconds) => clockTime(seconds, stepSeconds)),
      },
      { ...axis, ticks: { show: false }, size: 48, values: (_chart, splits) => splits.map(shortNumber) },
    ],
    series: [
      {},
      { ...line, label: 'published/s', stroke: colour('--published') },
      { ...line, label: 'delivered/s', stroke: colour('--delivered') },
    ],
  }
  return new uPlot(options, series, place)
}

function spanOf(min: number | null, max: number | null): [begin: number, end: number] {
  const end = max ?? Date.now() / 1000
  const begin = Math.min(min ?? end, end - spanSecondsMin)
  return [Math.max(begin, end - spanSeconds), end]
}

function clockTime(seconds: number, stepSeconds: number): string {
  const parts = stepSeconds < 60 ? ({ timeStyle: 'medium' } as const) : ({ timeStyle: 'short' } as const)
  return new Date(seconds * 1000).toLocaleTimeString([], { ...parts, hourCycle: 'h23' })
}

const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

function shortNumber(value: number): string {
  return short.format(value)
}
