// GET /: one static page that says what this is and which calls there are. It asks for nothing and runs no script.
import type { Plugin } from '@hapi/hapi'
import type { Cors } from './cors.ts'
import { allowOnly } from './methods.ts'

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>sser</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:3rem auto;padding:0 1rem}
code{font:14px ui-monospace,monospace}td{padding:.1rem 1rem .1rem 0;vertical-align:top}</style>
<h1>sser</h1>
<p>Publish and subscribe over Server-Sent Events, on a durable log.</p>
<table>
<tr><td><code>POST /api/v1/pubsubs</code><td>make a topic
<tr><td><code>DELETE /api/v1/pubsubs/{id}</code><td>delete it
<tr><td><code>POST /api/v1/pubsubs/{id}/events</code><td>publish an event
<tr><td><code>GET /api/v1/pubsubs/{id}/events</code><td>subscribe: an event stream
<tr><td><code>GET /api/v1/metrics</code><td>figures
<tr><td><code>GET /healthz</code>, <code>GET /readyz</code><td>is it alive, is it ready
</table>
</html>
`

export const homePlugin: Plugin<{ readonly cors: Cors }> = {
  name: 'sser-home',
  register(server, { cors }) {
    server.route({
      method: 'GET',
      path: '/',
      options: { auth: false },
      handler: (_request, h) =>
        h
          .response(page)
          .type('text/html')
          .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
          .header('x-content-type-options', 'nosniff'),
    })
    allowOnly(server, cors, '/', ['GET'])
  },
}
