// Preloaded into a built server, by --import: at SIGUSR2 it says for how long the event loop was held up at most since the
// last time, and by the longest pause of the collector.
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'

const resolutionMs = 1
const delay = monitorEventLoopDelay({ resolution: resolutionMs })
delay.enable()
let pauseMs = 0
const notePauses = (entries) => {
  for (const { duration } of entries) pauseMs = Math.max(pauseMs, duration)
}
const collector = new PerformanceObserver((list) => notePauses(list.getEntries()))
collector.observe({ entryTypes: ['gc'] })
process.on('SIGUSR2', () => {
  notePauses(collector.takeRecords())
  const heldMs = Math.max(0, delay.max / 1e6 - resolutionMs)
  process.stderr.write(`loop held up ${JSON.stringify({ heldMs, pauseMs })}\n`)
  delay.reset()
  pauseMs = 0
})
