// What Docker asks: is the process alive? Exit code 0 says yes. It asks at the port that PORT names (`80`, `:80` or
// `host:80`), else at the default; a server whose configuration names another one wants `--health-cmd` of its own.
const port = /(\d+)$/.exec(process.env.PORT ?? '')?.[1] ?? '8889'
const answer = await fetch(`http://127.0.0.1:${port}/healthz`, {
  redirect: 'manual',
  signal: AbortSignal.timeout(4000),
}).catch(() => undefined)
// With HTTPS this port sends everybody there: whoever does so is alive.
process.exitCode = answer?.ok || answer?.status === 301 ? 0 : 1
