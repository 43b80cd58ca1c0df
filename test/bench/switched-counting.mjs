// Preloaded into a built server, by --import: from one SIGUSR2 to the next one the figures for Prometheus are counted in some
// turns and not in others; then it tells of all these turns. Each other time everything is counted many times over, so that
// what that costs stands out from what else moves. A server that is configured counts always, and once.
import { register } from 'node:module'
import perfHooks from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'

/** Four turns to a block, in one of two orders: what drifts through a block weighs on both sides alike. */
const ORDERS = [
  [true, false, false, true],
  [false, true, true, false],
]
/** Orders and lengths are drawn, since a server has clockwork, too, which must not keep step with the turns. */
const TURN_MS_MIN = 18
const TURN_MS_MAX = 32
const TIMES = [1, 20]
const NAMED = 'export function telling('
const SWITCHED = `
const state = globalThis.countingState
export function telling(first, second) {
  const both = tellingAlways(first, second)
  for (const name of Object.keys(second)) {
    const silent = first[name] ?? (() => undefined)
    const counted = both[name]
    both[name] = (...told) => {
      if (name === 'published') state.events += told[0]
      if (!state.isOn) silent(...told)
      else for (let time = 0; time < state.times; time += 1) counted(...told)
    }
  }
  return both
}
function tellingAlways(`

// In the thread of the hooks this file is loaded once more, for the hook alone.
if (isMainThread) {
  register(import.meta.url)
  awaitSignals()
}

export async function load(url, context, next) {
  const loaded = await next(url, context)
  if (!url.endsWith('/src/app/observers.js')) return loaded
  const source = String(loaded.source)
  if (!source.includes(NAMED)) throw new Error(`There is no "${NAMED}" to switch any more.`)
  return { ...loaded, source: source.replace(NAMED, SWITCHED) }
}

function awaitSignals() {
  const state = { isOn: true, times: 1, events: 0 }
  globalThis.countingState = state
  const watchers = watchersOfProcess()
  let watching = 1
  let sessions = 0
  let timer
  let turns = []
  let order
  let begun

  function begin() {
    const inBlock = turns.length % 4
    if (inBlock === 0) order = ORDERS[Math.random() < 0.5 ? 0 : 1]
    state.isOn = order[inBlock]
    const wanted = state.isOn ? state.times : 0
    if (wanted !== watching) for (const watch of watchers) watch(wanted)
    watching = wanted
    state.events = 0
    begun = { atMs: performance.now(), cpu: process.cpuUsage() }
    timer = setTimeout(end, TURN_MS_MIN + Math.random() * (TURN_MS_MAX - TURN_MS_MIN))
  }

  function end() {
    const { user, system } = process.cpuUsage(begun.cpu)
    turns.push({ isOn: state.isOn, events: state.events, ms: performance.now() - begun.atMs, cpuUs: user + system })
    begin()
  }

  process.on('SIGUSR2', () => {
    if (timer !== undefined) {
      clearTimeout(timer)
      timer = undefined
      process.stderr.write(`turns ${JSON.stringify({ times: state.times, turns })}\n`)
      return
    }
    state.times = TIMES[sessions % TIMES.length]
    sessions += 1
    turns = []
    begin()
  })
}

/**
 * prom-client's own, of the event loop and of the collector: they belong to what is counted. Others import them by name. For
 * each of the two a function that lets so many of its kind watch.
 */
function watchersOfProcess() {
  const watchers = []
  const timesMax = Math.max(...TIMES)
  const { monitorEventLoopDelay, PerformanceObserver } = perfHooks
  perfHooks.monitorEventLoopDelay = (options) => {
    const all = Array.from({ length: timesMax }, () => monitorEventLoopDelay(options))
    watchers.push((times) => {
      for (const [index, delay] of all.entries()) index < times ? delay.enable() : delay.disable()
    })
    return all[0]
  }
  perfHooks.PerformanceObserver = class {
    constructor(callback) {
      this.all = Array.from({ length: timesMax }, () => new PerformanceObserver(callback))
    }

    observe(options) {
      this.all[0].observe(options)
      watchers.push((times) => {
        for (const [index, observer] of this.all.entries())
          index < times ? observer.observe(options) : observer.disconnect()
      })
    }
  }
  return watchers
}
