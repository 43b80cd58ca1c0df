/**
 * What a program does with the client library, on web standards alone, so that Node and a browser run this very file. It
 * tells what it has seen; the test says whether that is right.
 */

/** `cutUrl`: the same server behind a network that cuts. */
export async function live({ SserClient, SserError }, { url, cutUrl, token }) {
  const unhandled = []
  const onUnhandled = (event) => unhandled.push(String(event.reason ?? event))
  if (typeof addEventListener === 'function') addEventListener('unhandledrejection', onUnhandled)
  const client = new SserClient({ url, token })
  const { id } = await client.topics.create({ persist: true, name: 'of a browser' })
  const seen = { name: (await client.topics.get(id)).name }

  const hello = await client.publish(id, { message: 'Hëllo', type: 'greeting', id: 'möbius' })
  const rest = Array.from({ length: 99 }, (_, index) => ({ message: { index } }))
  const numbers = [hello, ...(await client.publishMany(id, rest))].map((event) => event.id)

  // Over many connections each event once, in order.
  const items = await take(new SserClient({ url: cutUrl, token }).subscribe(id, { since: 'earliest' }), 100)
  seen.first = items[0].kind === 'event' && { id: items[0].id, type: items[0].type, data: items[0].data }
  seen.data = items.slice(1).map((item) => JSON.parse(item.data).index)
  seen.areCursorsNumbers = items.every((item, index) => item.cursor === numbers[index])

  // Behind a cursor that was kept, also one that is no ASCII.
  const [second] = await take(client.subscribe(id, { lastEventId: 'möbius' }), 1)
  seen.behindTheFirst = second.data

  const [gap, afterGap] = await take(client.subscribe(id, { lastEventId: 'never given' }), 2)
  seen.gap = { kind: gap.kind, reason: gap.reason, goesOnWith: afterGap.data }

  seen.history = []
  for await (const item of client.history(id, { order: 'desc', pageEvents: 40 })) seen.history.push(item.id)
  seen.isHistoryWhole = JSON.stringify(seen.history.reverse()) === JSON.stringify(numbers)
  delete seen.history

  seen.errors = []
  const fails = (promise) => promise.catch((error) => seen.errors.push(describe(error, SserError)))
  await fails(client.publish('0000000001z', { message: 1 }))
  await fails(new SserClient({ url, token: 'wrong' }).topics.create())
  await fails(take(new SserClient({ url, token: 'wrong' }).subscribe(id), 1))
  await fails(new SserClient({ url: 'http://127.0.0.1:1' }).topics.create())
  await fails(take(client.subscribe(id, { since: 'earliest', eventBytesMax: 4 }), 1))
  const giveUp = new AbortController()
  const waiting = take(client.subscribe(id, { signal: giveUp.signal }), 1)
  giveUp.abort(new Error('enough'))
  await fails(waiting)

  // Whoever does not ask for more is not read for.
  const large = 'x'.repeat(100_000)
  const { id: heavy } = await client.topics.create({ persist: true })
  for (let batch = 0; batch < 10; batch++) {
    const events = Array.from({ length: 10 }, (_, index) => ({ message: `${batch * 10 + index} ${large}` }))
    await client.publishMany(heavy, events)
  }
  const read = { bytes: 0 }
  const counted = new SserClient({ url, token, fetch: countingFetch(read) })
  seen.heavy = []
  for await (const item of counted.subscribe(heavy, { since: 'earliest' })) {
    if (seen.heavy.length === 0) {
      await new Promise((resolve) => setTimeout(resolve, 300))
      seen.bytesReadAhead = read.bytes
    }
    seen.heavy.push(Number.parseInt(item.data, 10))
    if (seen.heavy.length === 100) break
  }

  let last
  for await (const item of client.subscribe(id, { since: 'earliest' })) {
    if (last === undefined) await client.topics.delete(id)
    last = item.kind
  }
  seen.endsWithItsTopic = true
  // A rejection that nobody handles is told a turn later.
  await new Promise((resolve) => setTimeout(resolve))
  seen.unhandled = unhandled
  return seen
}

async function take(stream, count) {
  const items = []
  for await (const item of stream) {
    items.push(item)
    if (items.length === count) break
  }
  return items
}

/** Counts the bytes that are read out of the answers' bodies, and keeps none of them back. */
function countingFetch(read) {
  return async (...request) => {
    const response = await fetch(...request)
    const reader = response.body.getReader()
    const body = new ReadableStream(
      {
        async pull(controller) {
          const { value, done } = await reader.read()
          if (done) return controller.close()
          read.bytes += value.length
          controller.enqueue(value)
        },
        cancel: (reason) => reader.cancel(reason),
      },
      { highWaterMark: 0 },
    )
    return new Response(body, { status: response.status, headers: response.headers })
  }
}

function describe(error, SserError) {
  if (error instanceof SserError) return error.status === undefined ? error.code : `${error.code} ${error.status}`
  return error.message
}
