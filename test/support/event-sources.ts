/** The EventSource of npm's `eventsource` and that of undici, alike: what each dispatches, in order, with what it knew. */
import { setTimeout as delay } from 'node:timers/promises'
import { EventSource as NpmEventSource } from 'eventsource'
import { EventSource as UndiciEventSource } from 'undici'

export interface Dispatched {
  readonly type: string
  readonly data: string
  readonly lastEventId: string
}

const WAIT_MS_MAX = 30_000
const POLL_MS = 2

export const eventSourceKinds = ['npm eventsource', 'undici'] as const
export type EventSourceKind = (typeof eventSourceKinds)[number]

export class Listener {
  readonly events: Dispatched[] = []
  /** How often it was connected. */
  opened = 0
  readonly #source: NpmEventSource | UndiciEventSource

  constructor(kind: EventSourceKind, url: string, types: readonly string[] = []) {
    // undici's delay before it reconnects does not keep the process alive; what waits for it does.
    const source = kind === 'undici' ? new UndiciEventSource(url) : new NpmEventSource(url)
    this.#source = source
    source.addEventListener('open', () => {
      this.opened += 1
    })
    for (const type of ['message', ...types]) {
      source.addEventListener(type, (event: Event) => {
        const { data, lastEventId } = event as Event & Omit<Dispatched, 'type'>
        this.events.push({ type, data, lastEventId })
      })
    }
  }

  get isClosed(): boolean {
    return this.#source.readyState === 2
  }

  /** Rejects when it is not true in time. */
  async until(isTrue: (listener: Listener) => boolean): Promise<void> {
    const endsAt = performance.now() + WAIT_MS_MAX
    while (!isTrue(this)) {
      if (performance.now() > endsAt) {
        throw new Error(
          `It never came; ${this.events.length} events did, the last one ${JSON.stringify(this.events.at(-1))}`,
        )
      }
      await delay(POLL_MS)
    }
  }

  close(): void {
    this.#source.close()
  }
}
