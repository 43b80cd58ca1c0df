/**
 * Loaded into a server before its program: tells on SIGUSR2, in a line of its standard output, how many bytes its objects
 * and buffers take once what nobody holds any more has been collected. Needs `--expose-gc`.
 */
process.on('SIGUSR2', () => {
  globalThis.gc()
  // What was freed by the first pass may hold buffers of which only the next one tells.
  globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  process.stdout.write(`held bytes: ${heapUsed + external}\n`)
})
