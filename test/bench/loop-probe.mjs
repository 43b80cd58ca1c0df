// Preloaded into a built server, by --import: at SIGUSR2 it says for how long the event loop was held up at most since the
// last time.
import { monitorEventLoopDelay } from 'node:perf_hooks'

const resolutionMs = 1
const delay = monitorEventLoopDelay({ resolution: resolutionMs })
delay.enable()
process.on('SIGUSR2', () => {
  process.stderr.write(`loop held up ${Math.max(0, delay.max / 1e6 - resolutionMs)} ms\n`)
  delay.reset()
})
