/**
 * One timer for the heartbeats and deadlines of all streams. Its members are spread over the slots of one period, and one
 * slot is visited per tick: ten thousand streams cost a visit of some sixty of them every 25 ms, and no timers of their own.
 * Knows nothing of what its members do.
 */

import type { Clock } from './ports.ts'

/** Target time between two slots, where that gives a number of slots within the bounds. */
const TURN_MS = 25
const SLOTS_MIN = 16
const SLOTS_MAX = 160
/** A turn before all periods. */
export const NO_TURN = -SLOTS_MAX - 1

export interface WheelMember {
  /** The slot assigned by `nextSlot`. */
  readonly slot: number
  visit(): void
}

export class Wheel {
  readonly #slots: readonly Set<WheelMember>[]
  readonly #timer: { close(): void }
  #turn = 0
  #slotsGiven = 0

  /** Each member is visited once in `periodMs`. */
  constructor(clock: Clock, periodMs: number) {
    const slots = Math.min(SLOTS_MAX, Math.max(SLOTS_MIN, Math.floor(periodMs / TURN_MS)))
    this.#slots = Array.from({ length: slots }, () => new Set<WheelMember>())
    this.#timer = clock.every(Math.max(1, Math.floor(periodMs / slots)), () => this.#advance())
  }

  /** Between two visits of a member. */
  get turnsOfPeriod(): number {
    return this.#slots.length
  }

  /** How many slots have been visited. */
  get turn(): number {
    return this.#turn
  }

  /** The slot for a new member, round robin, so that many members added at once are spread over a whole period. */
  nextSlot(): number {
    return this.#slotsGiven++ % this.#slots.length
  }

  add(member: WheelMember): void {
    this.#slots[member.slot]!.add(member)
  }

  remove(member: WheelMember): void {
    this.#slots[member.slot]!.delete(member)
  }

  close(): void {
    this.#timer.close()
  }

  #advance(): void {
    this.#turn += 1
    for (const member of this.#slots[this.#turn % this.#slots.length]!) member.visit()
  }
}
