import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PaceClock, Pacer, type PaceSetting, PaceStopped } from '../../storage-engine/pacer.ts'

/** Time passes only by sleeping, and as the test says. */
class SleepingClock implements PaceClock {
  now = 0
  slept = 0

  nowMs(): number {
    return this.now
  }

  async sleep(durationMs: number): Promise<void> {
    this.now += durationMs
    this.slept += 1
  }
}

/** A quiet log, but for what the test says. */
function setting(of: Partial<PaceSetting> = {}): PaceSetting {
  return { commitInFlight: () => undefined, pressure: () => 0, isAwaited: () => false, ...of }
}

const busy = setting({ commitInFlight: () => Promise.resolve() })

test('no more bytes are transferred in a second than are allowed', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1_000_000, setting(), clock)
  for (let i = 0; i < 100; i += 1) await pacer.transfer(100_000)
  assert.ok(clock.now >= 9_800 && clock.now <= 10_000, `${clock.now} ms for ten seconds' worth`)
})

test('time without work is not saved up', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1_000_000, setting(), clock)
  await pacer.transfer(1000)
  clock.now = 60_000
  for (let i = 0; i < 11; i += 1) await pacer.transfer(100_000)
  assert.ok(clock.now >= 61_000 - 5, `${clock.now - 60_000} ms for a second's worth`)
})

test('a time without work is not rested from, however long it was', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1, busy, clock)
  clock.now = 3_600_000
  pacer.begin()
  clock.now += 2
  await pacer.slice()
  assert.equal(clock.now - 3_600_000, 40, 'two milliseconds of work, and nineteen times as much rest')
})

test('without commits slices take a quarter of the time, but all of it where somebody waits for the work', async () => {
  for (const [isAwaited, endsAt] of [
    [false, 80],
    [true, 20],
  ] as const) {
    const clock = new SleepingClock()
    const pacer = new Pacer(1, setting({ isAwaited: () => isAwaited }), clock)
    for (let worked = 0; worked < 20; worked += 2) {
      clock.now += 2
      await pacer.slice()
    }
    assert.equal(clock.now, endsAt)
  }
})

test('while there are commits, the work rests from them even where somebody waits for it', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1, { ...busy, isAwaited: () => true }, clock)
  clock.now += 2
  await pacer.slice()
  assert.equal(clock.now, 40)
})

test('what others do meanwhile is no work, even where they fail', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1, setting(), clock)
  clock.now += 0.5
  const takes = async (durationMs: number) => {
    await undefined
    clock.now += durationMs
  }
  await pacer.apart(takes(1000))
  await assert.rejects(pacer.apart(takes(1000).then(() => Promise.reject(new Error('disk')))), /disk/)
  assert.equal(pacer.slice(), undefined, 'half a millisecond of work is no slice')
  clock.now += 0.5
  assert.notEqual(pacer.slice(), undefined)
})

test('a slice ends after a millisecond, and with a turn of the event loop', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1, setting(), clock)
  assert.equal(pacer.slice(), undefined)
  clock.now = 0.9
  assert.equal(pacer.slice(), undefined)
  clock.now = 1
  let hasTurned = false
  setImmediate(() => {
    hasTurned = true
  })
  await pacer.slice()
  assert.equal(hasTurned, true)
  assert.equal(pacer.slice(), undefined, 'the next slice has begun')
})

test('while there are commits, slices take a twentieth of the time', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1, busy, clock)
  for (let worked = 0; worked < 20; worked += 2) {
    clock.now += 2
    await pacer.slice()
  }
  assert.equal(clock.now, 400)
})

test('the more the work is needed, the less it rests, and the less it keeps to its bytes a second', async () => {
  for (const [pressure, sleptMs, transferredMs] of [
    [0, 38, 1000],
    [0.5, 19, 500],
    [1, 0, 0],
  ] as const) {
    const clock = new SleepingClock()
    const pacer = new Pacer(1000, { ...busy, pressure: () => pressure }, clock)
    clock.now = 2
    await pacer.slice()
    assert.equal(clock.now - 2, sleptMs)
    const before = clock.now
    await pacer.transfer(1000)
    await pacer.transfer(1)
    assert.ok(Math.abs(clock.now - before - transferredMs) <= 5, `${clock.now - before} ms`)
  }
})

test('a commit that began in the turn between two slices has the event loop for itself', async () => {
  const clock = new SleepingClock()
  let commit: Promise<void> | undefined
  const pacer = new Pacer(1, setting({ commitInFlight: () => commit }), clock)
  clock.now = 2
  setImmediate(() => {
    commit = Promise.resolve()
  })
  await pacer.slice()
  assert.equal(clock.now, 40)
})

test('waiting for the turn of a transfer is no work', async () => {
  const clock = new SleepingClock()
  const pacer = new Pacer(1000, setting(), clock)
  await pacer.transfer(500)
  clock.now += 0.5
  await pacer.transfer(1)
  assert.ok(clock.now > 400, 'it has waited')
  assert.equal(pacer.slice(), undefined, 'half a millisecond of work is no slice')
  clock.now += 0.5
  assert.notEqual(pacer.slice(), undefined)
})

test('a commit that is in flight goes first, and only that one', async () => {
  let land: () => void = () => undefined
  let commits = 0
  const inFlight = () => {
    commits += 1
    return new Promise<void>((resolve) => {
      land = resolve
    })
  }
  const pacer = new Pacer(1_000_000, setting({ commitInFlight: inFlight }), new SleepingClock())
  let isDone = false
  const transfer = pacer.transfer(1).then(() => {
    isDone = true
  })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(isDone, false)
  land()
  await transfer
  assert.equal(commits, 1)
})

test('whoever waits is told to stop, and whoever asks afterwards', async () => {
  const pacer = new Pacer(1, setting())
  await pacer.transfer(1000)
  const waiting = assert.rejects(pacer.transfer(1), PaceStopped)
  await new Promise((resolve) => setImmediate(resolve))
  pacer.stop()
  await waiting
  await assert.rejects(pacer.transfer(0), PaceStopped)
  await assert.rejects(async () => await pacer.slice(), PaceStopped)
})
