/**
 * One timer for the heartbeats and deadlines of all streams. Its members are spread over the slots of one period, and a
 * slot is visited at a time: five thousand streams cost sixteen small pieces of work per period, and no timer each.
 * Knows nothing of what its members do.
 */

import type { Clock } from './ports.ts'

/** Slots in one period. */
export const WHEEL_SLOTS = 16
/** A turn that lies before all periods. */
export const NO_TURN = -WHEEL_SLOTS - 1

export interface WheelMember {
  /** The slot that `add` gave. */
  readonly slot: number
  visit(): void
}

export class Wheel {
  readonly #slots: readonly Set<WheelMember>[] = Array.from({ length: WHEEL_SLOTS }, () => new Set<WheelMember>())
  readonly #timer: { close(): void }
  #turn = 0
  #slotsGiven = 0

  /** Each member is visited once in `periodMs`. */
  constructor(clock: Clock, periodMs: number) {
    this.#timer = clock.every(Math.max(1, Math.floor(periodMs / WHEEL_SLOTS)), () => this.#advance())
  }

  /** How often a slot has been visited. A member's visits lie `WHEEL_SLOTS` apart. */
  get turn(): number {
    return this.#turn
  }

  /** The slot for a new member: in turn, so that many who come at once are spread over a whole period. */
  nextSlot(): number {
    return this.#slotsGiven++ % WHEEL_SLOTS
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
    for (const member of this.#slots[this.#turn % WHEEL_SLOTS]!) member.visit()
  }
}
